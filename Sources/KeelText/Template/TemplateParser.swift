import KeelCore

/// Reads the statements of a template: the part of Jinja that chat templates use.
struct TemplateParser {
    private let tokens: [PlacedToken]
    private let name: String
    private var at = 0
    private var depth = 0

    /// Nesting beyond this is refused.
    private static let deepest = 100

    private init(_ tokens: [PlacedToken], name: String) {
        self.tokens = tokens
        self.name = name
    }

    /// - Parameter name: what errors call the template.
    /// - Throws: `KeelError` (badData) with the line of what cannot be read, or is not supported.
    static func statements(_ source: String, name: String) throws -> [TemplateStatement] {
        var parser = TemplateParser(try TemplateLexer.tokens(source, name: name), name: name)
        let (body, end) = try parser.body(until: [])
        precondition(end == nil, "a body without ends ended with \(end ?? "")")
        return body
    }

    // MARK: - Statements

    /// Statements up to a tag of one of these names; its name is read, the rest of the tag is not.
    private mutating func body(
        until ends: [String]
    ) throws -> (body: [TemplateStatement], end: String?) {
        try enter()
        defer { depth -= 1 }
        var body: [TemplateStatement] = []
        while at < tokens.count {
            let line = tokens[at].line
            switch tokens[at].token {
            case .text(let text):
                at += 1
                body.append(TemplateStatement(kind: .text(text), line: line))
            case .beginPrint:
                at += 1
                let value = try expression()
                try expect(.endPrint)
                body.append(TemplateStatement(kind: .print(value), line: line))
            case .beginTag:
                at += 1
                let word = try identifier("the name of a tag")
                if ends.contains(word) { return (body, word) }
                body.append(TemplateStatement(kind: try tag(word), line: line))
            default: throw error("a tag cannot begin here")
            }
        }
        guard ends.isEmpty else {
            throw error("{% \(ends[ends.count - 1]) %} is missing", fix: "add it")
        }
        return (body, nil)
    }

    /// The tag whose name was read.
    private mutating func tag(_ word: String) throws -> TemplateStatement.Kind {
        switch word {
        case "if": return try branch()
        case "for": return try loop()
        case "set": return try set()
        case "macro": return try macro()
        case "generation":
            try expect(.endTag)
            return .generation(try closed("endgeneration"))
        case "break", "continue":
            try expect(.endTag)
            return word == "break" ? .leave : .next
        default:
            let known = "if, for, set, macro, generation, break, continue"
            throw error(
                "the tag {% \(word) %} is not supported",
                fix: "write the template with these tags: \(known)")
        }
    }

    private mutating func closed(_ end: String) throws -> [TemplateStatement] {
        let (inner, _) = try body(until: [end])
        try expect(.endTag)
        return inner
    }

    private mutating func branch() throws -> TemplateStatement.Kind {
        var arms: [(condition: TemplateExpression?, body: [TemplateStatement])] = []
        var condition: TemplateExpression? = try expression()
        while true {
            try expect(.endTag)
            let hasElse = condition != nil
            let (inner, end) = try body(until: hasElse ? ["elif", "else", "endif"] : ["endif"])
            arms.append((condition, inner))
            if end == "endif" { break }
            condition = end == "elif" ? try expression() : nil
        }
        try expect(.endTag)
        return .branch(arms)
    }

    private mutating func loop() throws -> TemplateStatement.Kind {
        var names = [try identifier("a name")]
        while accept(",") { names.append(try identifier("a name")) }
        guard accept(word: "in") else { throw error("\"in\" is missing behind the name of a loop") }
        let list = try disjunction()
        let filter = accept(word: "if") ? try expression() : nil
        try expect(.endTag)
        var (inner, end) = try body(until: ["else", "endfor"])
        var otherwise: [TemplateStatement] = []
        if end == "else" {
            try expect(.endTag)
            (otherwise, end) = try body(until: ["endfor"])
        }
        try expect(.endTag)
        return .loop(
            .init(names: names, list: list, filter: filter, body: inner, otherwise: otherwise))
    }

    private mutating func set() throws -> TemplateStatement.Kind {
        var names = [try identifier("a name")]
        if accept(".") {
            let attribute = try identifier("an attribute")
            guard accept("=") else { throw error("\"=\" is missing in {% set %}") }
            let value = try expression()
            try expect(.endTag)
            return .set(.attribute(of: names[0], attribute), value)
        }
        while accept(",") { names.append(try identifier("a name")) }
        guard accept("=") else {
            try expect(.endTag)
            guard names.count == 1 else { throw error("a block gives its text to one name") }
            return .capture(names[0], try closed("endset"))
        }
        let value = try tuple()
        try expect(.endTag)
        return .set(.names(names), value)
    }

    private mutating func macro() throws -> TemplateStatement.Kind {
        let name = try identifier("the macro's name")
        guard accept("(") else { throw error("\"(\" is missing behind the macro's name") }
        var parameters: [TemplateStatement.Parameter] = []
        while !accept(")") {
            if !parameters.isEmpty {
                guard accept(",") else { throw error("a comma is missing between parameters") }
            }
            let parameter = try identifier("a parameter")
            parameters.append(
                .init(name: parameter, fallback: accept("=") ? try expression() : nil))
        }
        try expect(.endTag)
        return .macro(name: name, parameters: parameters, body: try closed("endmacro"))
    }

    // MARK: - Expressions, from the loosest to the tightest

    /// An expression, or several with commas between them: a list.
    private mutating func tuple() throws -> TemplateExpression {
        let line = currentLine
        var values = [try expression()]
        while accept(",") { values.append(try expression()) }
        return values.count == 1 ? values[0] : TemplateExpression(kind: .list(values), line: line)
    }

    private mutating func expression() throws -> TemplateExpression {
        try enter()
        defer { depth -= 1 }
        var value = try disjunction()
        while accept(word: "if") {
            let condition = try disjunction()
            let other = accept(word: "else") ? try expression() : nil
            value = TemplateExpression(kind: .choose(condition, value, other), line: value.line)
        }
        return value
    }

    private mutating func disjunction() throws -> TemplateExpression {
        var left = try conjunction()
        while accept(word: "or") { left = binary("or", left, try conjunction()) }
        return left
    }

    private mutating func conjunction() throws -> TemplateExpression {
        var left = try negation()
        while accept(word: "and") { left = binary("and", left, try negation()) }
        return left
    }

    private mutating func negation() throws -> TemplateExpression {
        guard accept(word: "not") else { return try comparison() }
        try enter()
        defer { depth -= 1 }
        let inner = try negation()
        return TemplateExpression(kind: .unary("not", inner), line: inner.line)
    }

    private mutating func comparison() throws -> TemplateExpression {
        let first = try sum()
        var rest: [(symbol: String, value: TemplateExpression)] = []
        while true {
            if let symbol = acceptAny(["==", "!=", "<=", ">=", "<", ">"]) {
                rest.append((symbol, try sum()))
            } else if accept(word: "in") {
                rest.append(("in", try sum()))
            } else if isWord("not"), isWord("in", ahead: 1) {
                at += 2
                rest.append(("not in", try sum()))
            } else {
                break
            }
        }
        return rest.isEmpty
            ? first : TemplateExpression(kind: .compare(first, rest), line: first.line)
    }

    private mutating func sum() throws -> TemplateExpression {
        var left = try concatenation()
        while let symbol = acceptAny(["+", "-"]) {
            left = binary(symbol, left, try concatenation())
        }
        return left
    }

    private mutating func concatenation() throws -> TemplateExpression {
        var left = try product()
        while accept("~") { left = binary("~", left, try product()) }
        return left
    }

    private mutating func product() throws -> TemplateExpression {
        var left = try sign()
        while let symbol = acceptAny(["*", "//", "/", "%"]) {
            left = binary(symbol, left, try sign())
        }
        return left
    }

    private mutating func sign() throws -> TemplateExpression {
        guard let symbol = acceptAny(["-", "+"]) else {
            return try filtered(try postfix(try primary()))
        }
        try enter()
        defer { depth -= 1 }
        let inner = try sign()
        return TemplateExpression(kind: .unary(symbol, inner), line: inner.line)
    }

    /// Filters and tests behind a value.
    private mutating func filtered(_ value: TemplateExpression) throws -> TemplateExpression {
        var value = value
        while true {
            if accept("|") {
                let name = try identifier("the name of a filter")
                let arguments = accept("(") ? try self.arguments() : .init()
                value = TemplateExpression(
                    kind: .filter(value, name, arguments), line: value.line)
            } else if accept(word: "is") {
                let isNegated = accept(word: "not")
                let name = try identifier("the name of a test")
                var arguments = TemplateExpression.Arguments()
                if accept("(") {
                    arguments = try self.arguments()
                } else if startsValue {
                    arguments.values = [try postfix(try primary())]
                }
                value = TemplateExpression(
                    kind: .test(value, name, arguments, isNegated: isNegated), line: value.line)
            } else {
                return value
            }
        }
    }

    /// Attributes, items and calls behind a value.
    private mutating func postfix(_ value: TemplateExpression) throws -> TemplateExpression {
        var value = value
        while true {
            if accept(".") {
                if case .int(let index) = current {
                    at += 1
                    let item = TemplateExpression(kind: .constant(.int(index)), line: value.line)
                    value = TemplateExpression(kind: .item(value, item), line: value.line)
                } else {
                    let name = try identifier("an attribute")
                    value = TemplateExpression(kind: .attribute(value, name), line: value.line)
                }
            } else if accept("[") {
                value = try item(of: value)
            } else if accept("(") {
                value = TemplateExpression(kind: .call(value, try arguments()), line: value.line)
            } else {
                return value
            }
        }
    }

    private mutating func item(of value: TemplateExpression) throws -> TemplateExpression {
        var parts: [TemplateExpression?] = [nil]
        while !accept("]") {
            if accept(":") {
                parts.append(nil)
                guard parts.count <= 3 else { throw error("a slice has at most three parts") }
            } else {
                guard parts[parts.count - 1] == nil else { throw error("\"]\" is missing") }
                parts[parts.count - 1] = try expression()
            }
        }
        if parts.count == 1 {
            guard let index = parts[0] else { throw error("an index is missing in []") }
            return TemplateExpression(kind: .item(value, index), line: value.line)
        }
        return TemplateExpression(
            kind: .slice(value, parts[0], parts[1], parts.count > 2 ? parts[2] : nil),
            line: value.line)
    }

    private mutating func arguments() throws -> TemplateExpression.Arguments {
        var arguments = TemplateExpression.Arguments()
        var isFirst = true
        while !accept(")") {
            if !isFirst {
                guard accept(",") else { throw error("a comma or \")\" is missing in a call") }
                if accept(")") { break }
            }
            isFirst = false
            if case .name(let name) = current, case .symbol("=") = token(ahead: 1) {
                at += 2
                arguments.named.append((name, try expression()))
            } else {
                arguments.values.append(try expression())
            }
        }
        return arguments
    }

    private mutating func primary() throws -> TemplateExpression {
        let line = currentLine
        func constant(_ value: TemplateValue) -> TemplateExpression {
            TemplateExpression(kind: .constant(value), line: line)
        }
        switch current {
        case .int(let value):
            at += 1
            return constant(.int(value))
        case .double(let value):
            at += 1
            return constant(.double(value))
        case .string(var text):
            at += 1
            // Neighbouring strings are one.
            while case .string(let more) = current {
                at += 1
                text += more
            }
            return constant(.string(text))
        case .name(let name):
            at += 1
            switch name {
            case "true", "True": return constant(.bool(true))
            case "false", "False": return constant(.bool(false))
            case "none", "None": return constant(.null)
            default: return TemplateExpression(kind: .name(name), line: line)
            }
        case .symbol("("):
            at += 1
            if accept(")") { return TemplateExpression(kind: .list([]), line: line) }
            let value = try tuple()
            guard accept(")") else { throw error("\")\" is missing") }
            return value
        case .symbol("["):
            at += 1
            return TemplateExpression(kind: .list(try items("]")), line: line)
        case .symbol("{"):
            at += 1
            return try dictionary(line)
        default: throw error("a value is missing")
        }
    }

    private mutating func items(_ close: String) throws -> [TemplateExpression] {
        var values: [TemplateExpression] = []
        while !accept(close) {
            if !values.isEmpty {
                guard accept(",") else { throw error("a comma or \"\(close)\" is missing") }
                if accept(close) { break }
            }
            values.append(try expression())
        }
        return values
    }

    private mutating func dictionary(_ line: Int) throws -> TemplateExpression {
        var pairs: [(key: TemplateExpression, value: TemplateExpression)] = []
        while !accept("}") {
            if !pairs.isEmpty {
                guard accept(",") else { throw error("a comma or \"}\" is missing") }
                if accept("}") { break }
            }
            let key = try expression()
            guard accept(":") else { throw error("\":\" is missing behind a key") }
            pairs.append((key, try expression()))
        }
        return TemplateExpression(kind: .dictionary(pairs), line: line)
    }

    // MARK: - Tokens

    private var current: TemplateToken { token(ahead: 0) ?? .endTag }
    private var currentLine: Int { at < tokens.count ? tokens[at].line : tokens.last?.line ?? 1 }

    private func token(ahead: Int) -> TemplateToken? {
        at + ahead < tokens.count ? tokens[at + ahead].token : nil
    }

    /// Whether the value of a test without brackets (`is divisibleby 3`) begins here.
    private var startsValue: Bool {
        switch current {
        case .string, .int, .double: return true
        case .name(let name): return !["and", "or", "not", "if", "else", "is", "in"].contains(name)
        default: return false
        }
    }

    private func isWord(_ word: String, ahead: Int = 0) -> Bool {
        token(ahead: ahead) == .name(word)
    }

    private mutating func accept(word: String) -> Bool {
        guard isWord(word) else { return false }
        at += 1
        return true
    }

    private mutating func accept(_ symbol: String) -> Bool {
        guard current == .symbol(symbol) else { return false }
        at += 1
        return true
    }

    private mutating func acceptAny(_ symbols: [String]) -> String? {
        guard case .symbol(let symbol) = current, symbols.contains(symbol) else { return nil }
        at += 1
        return symbol
    }

    private mutating func expect(_ token: TemplateToken) throws {
        guard current == token, at < tokens.count else {
            throw error("the tag goes on where it should end")
        }
        at += 1
    }

    private mutating func identifier(_ what: String) throws -> String {
        guard case .name(let name) = current else { throw error("\(what) is missing") }
        at += 1
        return name
    }

    private mutating func enter() throws {
        depth += 1
        guard depth <= TemplateParser.deepest else {
            throw error("nested more than \(TemplateParser.deepest) deep")
        }
    }

    private func binary(
        _ symbol: String, _ left: TemplateExpression, _ right: TemplateExpression
    ) -> TemplateExpression {
        TemplateExpression(kind: .binary(symbol, left, right), line: left.line)
    }

    private func error(_ what: String, fix: String? = nil) -> KeelError {
        KeelError("template", what, at: "\(name):\(currentLine)", fix: fix, code: .badData)
    }
}
