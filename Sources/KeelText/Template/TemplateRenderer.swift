import KeelCore

/// Runs the statements of a template.
struct TemplateRenderer {
    /// What errors call the template.
    let name: String
    private(set) var output: [UInt8] = []
    /// Bytes of the output that `{% generation %}` marks.
    private(set) var generated: [Range<Int>] = []
    private var scopes: [[String: TemplateValue]]
    private var captures = 0
    private var steps = 0
    private var depth = 0

    /// Every namespace there is: chains and rings of them are taken apart at the end.
    private var spaces: [TemplateValue.Namespace] = []

    /// A template that does more than this is refused.
    private static let mostSteps = 2_000_000
    private static let mostBytes = 1 << 26
    private static let deepest = 64
    /// Lists in lists; what messages may bring along is less.
    private static let deepestValue = 640

    /// What a statement asks of the loop around it.
    private enum Flow { case goOn, leave, next }

    init(name: String, variables: [String: TemplateValue]) {
        self.name = name
        scopes = [variables, [:]]
    }

    /// - Throws: `KeelError` (badData) with the line, also for what the template itself raises.
    mutating func run(_ statements: [TemplateStatement]) throws {
        defer { for space in spaces { space.values = [:] } }
        _ = try run(body: statements)
    }

    private mutating func run(body: [TemplateStatement]) throws -> Flow {
        for statement in body {
            let flow = try run(statement)
            if flow != .goOn { return flow }
        }
        return .goOn
    }

    private mutating func run(_ statement: TemplateStatement) throws -> Flow {
        try step(statement.line)
        switch statement.kind {
        case .text(let text): try write(text, statement.line)
        case .print(let value): try write(try evaluate(value).text, statement.line)
        case .branch(let arms):
            for arm in arms {
                if let condition = arm.condition, try !evaluate(condition).isTrue { continue }
                return try run(body: arm.body)
            }
        case .loop(let loop): try run(loop, line: statement.line)
        case .set(.names(let names), let value):
            try assign(try evaluate(value), to: names, line: statement.line)
        case .set(.attribute(let owner, let attribute), let value):
            guard case .namespace(let space) = lookUp(owner) else {
                throw error(
                    "\"\(owner)\" is no namespace; its attributes cannot be set", statement.line)
            }
            space.values[attribute] = try evaluate(value)
        case .capture(let name, let body):
            let text = try capture { try $0.run(body) }
            scopes[scopes.count - 1][name] = .string(text)
        case .macro(let name, let parameters, let body):
            scopes[scopes.count - 1][name] = .macro(
                .init(name: name, parameters: parameters, body: body))
        case .generation(let body):
            let start = output.count
            let flow = try run(body: body)
            if captures == 0, output.count > start { generated.append(start..<output.count) }
            return flow
        case .leave: return .leave
        case .next: return .next
        }
        return .goOn
    }

    private mutating func run(_ loop: TemplateStatement.Loop, line: Int) throws {
        var items = try elements(of: try evaluate(loop.list), line)
        try step(line, items.count)
        scopes.append([:])
        defer { scopes.removeLast() }
        if let filter = loop.filter {
            var kept: [TemplateValue] = []
            for item in items {
                try assign(item, to: loop.names, line: line)
                if try evaluate(filter).isTrue { kept.append(item) }
            }
            items = kept
        }
        guard !items.isEmpty else { return try run(loop.otherwise) }
        for (index, item) in items.enumerated() {
            scopes[scopes.count - 1] = [
                "loop": .dictionary([
                    ("index", .int(index + 1)), ("index0", .int(index)),
                    ("revindex", .int(items.count - index)),
                    ("revindex0", .int(items.count - index - 1)),
                    ("first", .bool(index == 0)), ("last", .bool(index == items.count - 1)),
                    ("length", .int(items.count)),
                    ("previtem", index > 0 ? items[index - 1] : .undefined),
                    ("nextitem", index + 1 < items.count ? items[index + 1] : .undefined),
                ])
            ]
            try assign(item, to: loop.names, line: line)
            if try run(body: loop.body) == .leave { break }
        }
    }

    private mutating func assign(_ value: TemplateValue, to names: [String], line: Int) throws {
        guard names.count > 1 else {
            scopes[scopes.count - 1][names[0]] = value
            return
        }
        let parts = try elements(of: value, line)
        guard parts.count == names.count else {
            throw error("\(parts.count) values for \(names.count) names", line)
        }
        for (name, part) in zip(names, parts) { scopes[scopes.count - 1][name] = part }
    }

    /// The text that `body` writes.
    private mutating func capture(
        _ body: (inout TemplateRenderer) throws -> Void
    ) throws -> String {
        let saved = output
        output = []
        captures += 1
        defer {
            output = saved
            captures -= 1
        }
        try body(&self)
        return String(decoding: output, as: UTF8.self)
    }

    private mutating func write(_ text: String, _ line: Int) throws {
        guard output.count + text.utf8.count <= TemplateRenderer.mostBytes else {
            throw tooLong("the text", line)
        }
        output += text.utf8
    }

    /// Counts work; lists count by their items.
    private mutating func step(_ line: Int, _ count: Int = 1) throws {
        steps += count
        guard steps <= TemplateRenderer.mostSteps else {
            throw error("the template takes more than \(TemplateRenderer.mostSteps) steps", line)
        }
    }

    // MARK: - Expressions

    private mutating func evaluate(_ expression: TemplateExpression) throws -> TemplateValue {
        try step(expression.line)
        let value = try computed(expression)
        switch expression.kind {
        case .list, .dictionary, .slice, .call, .filter, .binary:
            try weigh(value, expression.line)
        default: break
        }
        return value
    }

    /// Counts the making of a value, and refuses one that is too large or too deep to be printed or let go.
    private mutating func weigh(_ value: TemplateValue, _ line: Int) throws {
        var (cells, bytes) = (0, 0)
        func add(_ value: TemplateValue, depth: Int) throws {
            guard depth <= TemplateRenderer.deepestValue else {
                throw error(
                    "lists stand in each other more than \(TemplateRenderer.deepestValue) deep",
                    line)
            }
            cells += 1
            bytes += MemoryLayout<TemplateValue>.stride
            switch value {
            case .string(let text): bytes += text.utf8.count
            case .list(let items): for item in items { try add(item, depth: depth + 1) }
            case .dictionary(let pairs):
                for pair in pairs {
                    bytes += pair.key.utf8.count
                    try add(pair.value, depth: depth + 1)
                }
            default: break
            }
            guard bytes <= TemplateRenderer.mostBytes else { throw tooLong("a value", line) }
        }
        try add(value, depth: 0)
        try step(line, cells / 16 + bytes / 4096)
    }

    private func tooLong(_ what: String, _ line: Int) -> KeelError {
        error("\(what) grows beyond \(TemplateRenderer.mostBytes) bytes", line)
    }

    /// Texts with a separator between them.
    func joined(_ parts: [String], by separator: String, _ line: Int) throws -> TemplateValue {
        let gaps = max(0, parts.count - 1) * separator.utf8.count
        guard parts.reduce(gaps, { $0 + $1.utf8.count }) <= TemplateRenderer.mostBytes else {
            throw tooLong("a value", line)
        }
        return .string(parts.joined(separator: separator))
    }

    private mutating func computed(_ expression: TemplateExpression) throws -> TemplateValue {
        let line = expression.line
        switch expression.kind {
        case .constant(let value): return value
        case .name(let name): return lookUp(name)
        case .list(let items): return .list(try items.map { try evaluate($0) })
        case .dictionary(let pairs):
            var result: [(key: String, value: TemplateValue)] = []
            for pair in pairs {
                let key = try evaluate(pair.key)
                guard case .string(let text) = key else {
                    throw error("a key must be a string, found \(key.kind)", line)
                }
                let value = try evaluate(pair.value)
                result.removeAll { $0.key == text }
                result.append((text, value))
            }
            return .dictionary(result)
        case .attribute(let owner, let name):
            return try attribute(name, of: try evaluate(owner), line)
        case .item(let owner, let index):
            return try item(try evaluate(index), of: try evaluate(owner), line)
        case .slice(let owner, let start, let end, let stride):
            let bounds = try [start, end, stride].map { part -> Int? in
                guard let part else { return nil }
                let value = try evaluate(part)
                if case .null = value { return nil }
                guard let number = value.integer else {
                    throw error("a slice needs integers, found \(value.kind)", line)
                }
                return number
            }
            return try slice(try evaluate(owner), bounds[0], bounds[1], bounds[2] ?? 1, line)
        case .call(let callee, let arguments): return try call(callee, arguments, line)
        case .filter(let value, let name, let arguments):
            return try filter(name, try evaluate(value), try given(arguments), line)
        case .test(let value, let name, let arguments, let isNegated):
            let answer = try test(name, try evaluate(value), try given(arguments), line)
            return .bool(answer != isNegated)
        case .unary("not", let value): return .bool(try !evaluate(value).isTrue)
        case .unary(let symbol, let value):
            return try arithmetic(symbol, .int(0), try evaluate(value), line)
        case .binary("and", let left, let right):
            let first = try evaluate(left)
            return first.isTrue ? try evaluate(right) : first
        case .binary("or", let left, let right):
            let first = try evaluate(left)
            return first.isTrue ? first : try evaluate(right)
        case .binary(let symbol, let left, let right):
            return try arithmetic(symbol, try evaluate(left), try evaluate(right), line)
        case .compare(let first, let rest):
            var left = try evaluate(first)
            for (symbol, value) in rest {
                let right = try evaluate(value)
                guard try compare(symbol, left, right, line) else { return .bool(false) }
                left = right
            }
            return .bool(true)
        case .choose(let condition, let value, let other):
            if try evaluate(condition).isTrue { return try evaluate(value) }
            return try other.map { try evaluate($0) } ?? .undefined
        }
    }

    private func lookUp(_ name: String) -> TemplateValue {
        for scope in scopes.reversed() {
            if let value = scope[name] { return value }
        }
        return .undefined
    }

    private mutating func given(
        _ arguments: TemplateExpression.Arguments
    ) throws -> TemplateArguments {
        TemplateArguments(
            values: try arguments.values.map { try evaluate($0) },
            named: try arguments.named.map { ($0.name, try evaluate($0.value)) })
    }

    private mutating func call(
        _ callee: TemplateExpression, _ arguments: TemplateExpression.Arguments, _ line: Int
    ) throws -> TemplateValue {
        if case .attribute(let owner, let name) = callee.kind {
            let value = try evaluate(owner)
            let given = try given(arguments)
            if let result = try method(name, of: value, given, line) { return result }
            return try call(try attribute(name, of: value, line), given, line, shown: name)
        }
        let function = try evaluate(callee)
        var shown = "this"
        if case .name(let name) = callee.kind { shown = name }
        return try call(function, try given(arguments), line, shown: shown)
    }

    private mutating func call(
        _ function: TemplateValue, _ arguments: TemplateArguments, _ line: Int, shown: String
    ) throws -> TemplateValue {
        switch function {
        case .function(let name):
            let result = try self.function(name, arguments, line)
            switch result {
            case .list(let items): try step(line, items.count)
            case .namespace(let space):
                try step(line, 32)
                spaces.append(space)
            default: break
            }
            return result
        case .macro(let macro):
            depth += 1
            guard depth <= TemplateRenderer.deepest else {
                throw error(
                    "macros call each other more than \(TemplateRenderer.deepest) deep", line)
            }
            defer { depth -= 1 }
            return .string(try run(macro, arguments, line))
        default:
            throw error("\"\(shown)\" is \(function.kind), which cannot be called", line)
        }
    }

    private mutating func run(
        _ macro: TemplateValue.Macro, _ arguments: TemplateArguments, _ line: Int
    ) throws -> String {
        guard arguments.values.count <= macro.parameters.count else {
            throw error(
                "macro \"\(macro.name)\" takes \(macro.parameters.count) values, not "
                    + "\(arguments.values.count)", line)
        }
        let saved = scopes
        scopes = [saved[0], saved[1], [:]]
        defer { scopes = saved }
        for (i, parameter) in macro.parameters.enumerated() {
            let value: TemplateValue
            if i < arguments.values.count {
                value = arguments.values[i]
            } else if let named = arguments[parameter.name] {
                value = named
            } else {
                value = try parameter.fallback.map { try evaluate($0) } ?? .undefined
            }
            scopes[2][parameter.name] = value
        }
        return try capture { try $0.run(macro.body) }
    }

    // MARK: - Operators

    private func attribute(
        _ name: String, of value: TemplateValue, _ line: Int
    ) throws -> TemplateValue {
        switch value {
        case .dictionary(let pairs): return pairs.first { $0.key == name }?.value ?? .undefined
        case .namespace(let space): return space.values[name] ?? .undefined
        case .undefined: throw error("\"\(name)\" of something undefined", line)
        default: return .undefined
        }
    }

    private func item(
        _ index: TemplateValue, of value: TemplateValue, _ line: Int
    ) throws -> TemplateValue {
        switch (value, index) {
        case (.dictionary, .string(let name)), (.namespace, .string(let name)):
            return try attribute(name, of: value, line)
        case (.list(let items), _):
            guard let at = index.integer else { return .undefined }
            let place = at < 0 ? at + items.count : at
            return items.indices.contains(place) ? items[place] : .undefined
        case (.string(let text), _):
            guard let at = index.integer else { return .undefined }
            let scalars = Array(text.unicodeScalars)
            let place = at < 0 ? at + scalars.count : at
            return scalars.indices.contains(place) ? .string(String(scalars[place])) : .undefined
        case (.undefined, _): throw error("an item of something undefined", line)
        default: return .undefined
        }
    }

    private func slice(
        _ value: TemplateValue, _ start: Int?, _ end: Int?, _ stride: Int, _ line: Int
    ) throws -> TemplateValue {
        guard stride != 0, stride.magnitude < 1 << 30 else {
            throw error("a slice cannot go in steps of \(stride)", line)
        }
        func places(_ count: Int) -> [Int] {
            func bound(_ value: Int?, _ missing: Int) -> Int {
                guard let value else { return missing }
                let place = value < 0 ? max(value, -count - 1) + count : min(value, count)
                return stride > 0 ? max(place, 0) : min(max(place, -1), count - 1)
            }
            let first = bound(start, stride > 0 ? 0 : count - 1)
            let last = bound(end, stride > 0 ? count : -1)
            return Array(Swift.stride(from: first, to: last, by: stride))
        }
        switch value {
        case .list(let items): return .list(places(items.count).map { items[$0] })
        case .string(let text):
            let scalars = Array(text.unicodeScalars)
            var out = String.UnicodeScalarView()
            for place in places(scalars.count) { out.append(scalars[place]) }
            return .string(String(out))
        default: throw error("a slice of \(value.kind)", line)
        }
    }

    private func arithmetic(
        _ symbol: String, _ left: TemplateValue, _ right: TemplateValue, _ line: Int
    ) throws -> TemplateValue {
        if symbol == "~" { return .string(left.text + right.text) }
        switch (symbol, left, right) {
        case ("+", .string(let a), .string(let b)): return .string(a + b)
        case ("+", .list(let a), .list(let b)): return .list(a + b)
        default: break
        }
        if let a = left.integer, let b = right.integer, symbol != "/" {
            let result: (partialValue: Int, overflow: Bool)?
            switch symbol {
            case "+": result = a.addingReportingOverflow(b)
            case "-": result = a.subtractingReportingOverflow(b)
            case "*": result = a.multipliedReportingOverflow(by: b)
            case "//", "%":
                guard b != 0, !(a == .min && b == -1) else {
                    throw error("a division by zero", line)
                }
                // Rounded down, as in Python.
                let rest = a % b
                let isOff = rest != 0 && (rest < 0) != (b < 0)
                result =
                    symbol == "%"
                    ? (isOff ? rest + b : rest, false) : (a / b - (isOff ? 1 : 0), false)
            default: result = nil
            }
            if let result {
                guard !result.overflow else { throw error("a number is too large", line) }
                return .int(result.partialValue)
            }
        }
        if let a = left.number, let b = right.number {
            switch symbol {
            case "+": return .double(a + b)
            case "-": return .double(a - b)
            case "*": return .double(a * b)
            case "/":
                guard b != 0 else { throw error("a division by zero", line) }
                return .double(a / b)
            case "//":
                guard b != 0 else { throw error("a division by zero", line) }
                return .double((a / b).rounded(.down))
            case "%":
                guard b != 0 else { throw error("a division by zero", line) }
                return .double(a - (a / b).rounded(.down) * b)
            default: break
            }
        }
        throw error("\(left.kind) \(symbol) \(right.kind) is not possible", line)
    }

    private func compare(
        _ symbol: String, _ left: TemplateValue, _ right: TemplateValue, _ line: Int
    ) throws -> Bool {
        switch symbol {
        case "==": return left.equals(right)
        case "!=": return !left.equals(right)
        case "in": return try contains(right, left, line)
        case "not in": return try !contains(right, left, line)
        default: break
        }
        let order: Int
        if let a = left.number, let b = right.number {
            order = a < b ? -1 : a > b ? 1 : 0
        } else if case (.string(let a), .string(let b)) = (left, right) {
            let isLess = a.unicodeScalars.lexicographicallyPrecedes(b.unicodeScalars)
            order = isLess ? -1 : a.unicodeScalars.elementsEqual(b.unicodeScalars) ? 0 : 1
        } else {
            throw error("\(left.kind) \(symbol) \(right.kind) is not possible", line)
        }
        switch symbol {
        case "<": return order < 0
        case "<=": return order <= 0
        case ">": return order > 0
        default: return order >= 0
        }
    }

    private func contains(
        _ whole: TemplateValue, _ part: TemplateValue, _ line: Int
    ) throws -> Bool {
        switch (whole, part) {
        case (.string(let text), .string(let piece)):
            return TemplateText.find(piece, in: text) != nil
        case (.list(let items), _): return items.contains { $0.equals(part) }
        case (.dictionary(let pairs), .string(let key)): return pairs.contains { $0.key == key }
        case (.undefined, _): return false
        default: throw error("\(part.kind) in \(whole.kind) is not possible", line)
        }
    }

    /// What a loop goes over.
    func elements(of value: TemplateValue, _ line: Int) throws -> [TemplateValue] {
        switch value {
        case .list(let items): return items
        case .dictionary(let pairs): return pairs.map { .string($0.key) }
        case .string(let text): return text.unicodeScalars.map { .string(String($0)) }
        case .undefined: return []
        default: throw error("a loop over \(value.kind)", line)
        }
    }

    func error(_ what: String, _ line: Int, fix: String? = nil) -> KeelError {
        KeelError("template", what, at: "\(name):\(line)", fix: fix, code: .badData)
    }
}

/// What a call was given.
struct TemplateArguments {
    var values: [TemplateValue] = []
    var named: [(name: String, value: TemplateValue)] = []

    subscript(name: String) -> TemplateValue? { named.last { $0.name == name }?.value }

    /// The argument at a place, or of a name.
    func value(_ place: Int, _ name: String) -> TemplateValue? {
        place < values.count ? values[place] : self[name]
    }

    func text(_ place: Int, _ name: String) -> String? {
        if case .string(let text)? = value(place, name) { return text }
        return nil
    }
}
