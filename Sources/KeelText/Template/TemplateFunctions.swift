import KeelCore

/// Functions, methods, filters and tests of the template language.
extension TemplateRenderer {
    /// The functions every template has.
    static let functions = ["namespace", "range", "raise_exception", "dict"]

    func function(
        _ name: String, _ arguments: TemplateArguments, _ line: Int
    ) throws -> TemplateValue {
        switch name {
        case "namespace":
            let space = TemplateValue.Namespace()
            if case .dictionary(let pairs)? = arguments.values.first {
                for (key, value) in pairs { space.values[key] = value }
            }
            for (key, value) in arguments.named { space.values[key] = value }
            return .namespace(space)
        case "dict":
            return .dictionary(arguments.named.map { ($0.name, $0.value) })
        case "range":
            let numbers = arguments.values.compactMap(\.integer)
            guard numbers.count == arguments.values.count, (1...3).contains(numbers.count),
                numbers.count < 3 || numbers[2] != 0
            else { throw error("range() needs one to three integers", line) }
            let (start, end) = numbers.count == 1 ? (0, numbers[0]) : (numbers[0], numbers[1])
            let stride = numbers.count == 3 ? numbers[2] : 1
            let reach = end.subtractingReportingOverflow(start)
            guard !reach.overflow,
                reach.partialValue.magnitude / stride.magnitude <= 100_000
            else {
                throw error("range() of more than 100000 numbers", line)
            }
            return .list(Swift.stride(from: start, to: end, by: stride).map { .int($0) })
        default:
            // raise_exception: the template says what it does not take.
            let text = arguments.text(0, "message") ?? "no reason given"
            throw error(
                "the chat template refuses these messages: \(text)", line,
                fix: "change the roles or their order, or use another template")
        }
    }

    /// Every `old` replaced by `new`, the first `most` of them.
    private func replace(
        _ text: String, _ old: String, _ new: String, most: Int?, _ line: Int
    ) throws -> TemplateValue {
        guard !old.isEmpty else { return .string(text) }
        return try joined(TemplateText.split(text, old, most: most), by: new, line)
    }

    /// A method of a value, or nil when it has no such method.
    func method(
        _ name: String, of value: TemplateValue, _ arguments: TemplateArguments, _ line: Int
    ) throws -> TemplateValue? {
        switch value {
        case .string(let text): return try method(name, of: text, arguments, line)
        case .dictionary(let pairs):
            switch name {
            case "items": return .list(pairs.map { .list([.string($0.key), $0.value]) })
            case "keys": return .list(pairs.map { .string($0.key) })
            case "values": return .list(pairs.map(\.value))
            case "get":
                let key = arguments.text(0, "key")
                return pairs.first { $0.key == key }?.value ?? arguments.value(1, "default")
                    ?? .null
            default: return nil
            }
        default: return nil
        }
    }

    private func method(
        _ name: String, of text: String, _ arguments: TemplateArguments, _ line: Int
    ) throws -> TemplateValue {
        let first = arguments.text(0, "chars")
        func needed() throws -> String {
            guard let first else { throw error(".\(name)() needs a string", line) }
            return first
        }
        switch name {
        case "strip": return .string(TemplateText.strip(text, first))
        case "lstrip": return .string(TemplateText.strip(text, first, right: false))
        case "rstrip": return .string(TemplateText.strip(text, first, left: false))
        case "lower": return .string(text.lowercased())
        case "upper": return .string(text.uppercased())
        case "title": return .string(TemplateText.title(text))
        case "capitalize": return .string(TemplateText.capitalize(text))
        case "startswith": return .bool(text.utf8.starts(with: try needed().utf8))
        case "endswith":
            return .bool(text.utf8.reversed().starts(with: try needed().utf8.reversed()))
        case "split":
            let most = arguments.value(1, "maxsplit")?.integer
            return .list(
                TemplateText.split(text, first ?? arguments.text(0, "sep"), most: most).map {
                    .string($0)
                })
        case "splitlines":
            var lines = TemplateText.split(
                TemplateText.split(text, "\r\n", most: nil).joined(separator: "\n"), "\n",
                most: nil)
            if lines.last == "" { lines.removeLast() }
            return .list(lines.map { .string($0) })
        case "replace":
            guard let new = arguments.text(1, "new") else {
                throw error(".replace() needs two strings", line)
            }
            return try replace(
                text, try needed(), new, most: arguments.value(2, "count")?.integer, line)
        case "join":
            return try joined(
                try elements(of: arguments.values.first ?? .undefined, line).map(\.text),
                by: text, line)
        case "find":
            guard let at = TemplateText.find(try needed(), in: text) else { return .int(-1) }
            return .int(
                String(decoding: Array(text.utf8)[..<at], as: UTF8.self).unicodeScalars.count)
        case "count":
            return .int(TemplateText.split(text, try needed(), most: nil).count - 1)
        case "removeprefix":
            let prefix = try needed()
            return .string(
                text.utf8.starts(with: prefix.utf8)
                    ? String(text.unicodeScalars.dropFirst(prefix.unicodeScalars.count)) : text)
        default:
            throw error(
                "strings have no method .\(name)() here", line,
                fix: "see docs/chat.md for the part of Jinja that chat templates may use")
        }
    }

    // MARK: - Filters

    func filter(
        _ name: String, _ value: TemplateValue, _ arguments: TemplateArguments, _ line: Int
    ) throws -> TemplateValue {
        switch name {
        case "trim": return .string(TemplateText.strip(value.text, arguments.text(0, "chars")))
        case "upper": return .string(value.text.uppercased())
        case "lower": return .string(value.text.lowercased())
        case "title": return .string(TemplateText.title(value.text))
        case "capitalize": return .string(TemplateText.capitalize(value.text))
        case "string": return .string(value.text)
        case "safe": return value
        case "default", "d":
            let isEmpty = arguments.value(1, "boolean")?.isTrue ?? false
            if case .undefined = value { return arguments.value(0, "default_value") ?? .string("") }
            return isEmpty && !value.isTrue
                ? arguments.value(0, "default_value") ?? .string("") : value
        case "length", "count": return .int(try elements(of: value, line).count)
        case "first": return try elements(of: value, line).first ?? .undefined
        case "last": return try elements(of: value, line).last ?? .undefined
        case "list": return .list(try elements(of: value, line))
        case "reverse": return .list(try elements(of: value, line).reversed())
        case "join":
            let parts = try pick(arguments["attribute"], try elements(of: value, line), line)
            return try joined(parts.map(\.text), by: arguments.text(0, "d") ?? "", line)
        case "items":
            guard case .dictionary(let pairs) = value else { return .list([]) }
            return .list(pairs.map { .list([.string($0.key), $0.value]) })
        case "dictsort":
            guard case .dictionary(let pairs) = value else {
                throw error("dictsort of \(value.kind)", line)
            }
            let sorted = pairs.sorted { $0.key.lowercased() < $1.key.lowercased() }
            return .list(sorted.map { .list([.string($0.key), $0.value]) })
        case "replace":
            guard let old = arguments.text(0, "old"), let new = arguments.text(1, "new") else {
                throw error("replace needs two strings", line)
            }
            return try replace(value.text, old, new, most: nil, line)
        case "int":
            if let number = value.number {
                return .int(Int(exactly: number.rounded(.towardZero)) ?? 0)
            }
            return .int(Int(TemplateText.strip(value.text, nil)) ?? 0)
        case "float": return .double(value.number ?? Double(value.text) ?? 0)
        case "abs":
            guard let number = value.number else { throw error("abs of \(value.kind)", line) }
            return value.integer.flatMap { $0 == .min ? nil : .int(abs($0)) }
                ?? .double(abs(number))
        case "tojson": return .string(try jsonText(value, arguments, line))
        case "map": return try map(try elements(of: value, line), arguments, line)
        case "select", "reject":
            let test = arguments.text(0, "test")
            let kept = try elements(of: value, line).filter { item in
                let answer = try test.map { try self.test($0, item, rest(of: arguments, 1), line) }
                return (answer ?? item.isTrue) == (name == "select")
            }
            return .list(kept)
        case "selectattr", "rejectattr":
            guard let attribute = arguments.text(0, "attribute") else {
                throw error("\(name) needs the name of an attribute", line)
            }
            let test = arguments.text(1, "test")
            let kept = try elements(of: value, line).filter { item in
                let part = try pick(.string(attribute), [item], line)[0]
                let answer = try test.map { try self.test($0, part, rest(of: arguments, 2), line) }
                return (answer ?? part.isTrue) == (name == "selectattr")
            }
            return .list(kept)
        default:
            throw error(
                "the filter \"\(name)\" is not supported", line,
                fix: "see docs/chat.md for the part of Jinja that chat templates may use")
        }
    }

    private func rest(of arguments: TemplateArguments, _ count: Int) -> TemplateArguments {
        TemplateArguments(values: Array(arguments.values.dropFirst(count)))
    }

    /// An attribute of every item; the items themselves when none is named.
    private func pick(
        _ attribute: TemplateValue?, _ items: [TemplateValue], _ line: Int
    ) throws -> [TemplateValue] {
        guard case .string(let name)? = attribute else { return items }
        return items.map { item in
            guard case .dictionary(let pairs) = item else { return .undefined }
            return pairs.first { $0.key == name }?.value ?? .undefined
        }
    }

    private func map(
        _ items: [TemplateValue], _ arguments: TemplateArguments, _ line: Int
    ) throws -> TemplateValue {
        if let attribute = arguments["attribute"] {
            return .list(try pick(attribute, items, line))
        }
        guard let filter = arguments.text(0, "filter") else {
            throw error("map needs a filter or attribute=...", line)
        }
        return .list(
            try items.map { try self.filter(filter, $0, rest(of: arguments, 1), line) })
    }

    /// As `json.dumps(value, ensure_ascii=False)` spaces it.
    private func jsonText(
        _ value: TemplateValue, _ arguments: TemplateArguments, _ line: Int
    ) throws -> String {
        guard let json = value.json else { throw error("tojson of \(value.kind)", line) }
        let indent = arguments.value(0, "indent")?.integer
        if let indent, !(0...16).contains(indent) {
            throw error("tojson cannot indent by \(indent)", line)
        }
        let (cells, depth) = value.extent
        guard cells * depth * (indent ?? 0) <= 1 << 26 else {
            throw error("tojson of so much with an indent", line)
        }
        return TemplateJSON.text(json, indent: indent, level: 0)
    }

    // MARK: - Tests

    func test(
        _ name: String, _ value: TemplateValue, _ arguments: TemplateArguments, _ line: Int
    ) throws -> Bool {
        switch (name, value) {
        case ("defined", .undefined): return false
        case ("defined", _): return true
        case ("undefined", .undefined): return true
        case ("undefined", _): return false
        case ("none", .null), ("string", .string), ("boolean", .bool), ("mapping", .dictionary),
            ("integer", .int), ("float", .double), ("number", .int), ("number", .double),
            ("number", .bool), ("callable", .macro), ("callable", .function),
            ("sequence", .list), ("sequence", .string), ("sequence", .dictionary),
            ("iterable", .list), ("iterable", .string), ("iterable", .dictionary),
            ("iterable", .undefined), ("true", .bool(true)), ("false", .bool(false)):
            return true
        case ("none", _), ("string", _), ("boolean", _), ("mapping", _), ("integer", _),
            ("float", _), ("number", _), ("callable", _), ("sequence", _), ("iterable", _),
            ("true", _), ("false", _):
            return false
        case ("odd", _), ("even", _):
            guard let number = value.integer else { throw error("\(name) of \(value.kind)", line) }
            return (number % 2 != 0) == (name == "odd")
        case ("divisibleby", _):
            guard let number = value.integer, let by = arguments.values.first?.integer, by != 0,
                by != -1
            else { throw error("divisibleby needs two integers", line) }
            return number % by == 0
        case ("equalto", _), ("eq", _), ("==", _):
            return value.equals(arguments.values.first ?? .undefined)
        case ("ne", _): return !value.equals(arguments.values.first ?? .undefined)
        case ("in", _):
            let whole = arguments.values.first ?? .undefined
            if case (.string(let text), .string(let piece)) = (whole, value) {
                return TemplateText.find(piece, in: text) != nil
            }
            return try elements(of: whole, line).contains { $0.equals(value) }
        case ("lower", .string(let text)): return text == text.lowercased()
        case ("upper", .string(let text)): return text == text.uppercased()
        default:
            throw error(
                "the test \"is \(name)\" is not supported", line,
                fix: "see docs/chat.md for the part of Jinja that chat templates may use")
        }
    }
}

/// JSON as Python's `json.dumps` writes it: a space behind colons, and behind commas on one line.
enum TemplateJSON {
    static func text(_ json: JSON, indent: Int?, level: Int) -> String {
        let inner: [String]
        let brackets: (String, String)
        switch json {
        case .array(let items):
            brackets = ("[", "]")
            inner = items.map { text($0, indent: indent, level: level + 1) }
        case .object(let object):
            brackets = ("{", "}")
            inner = object.map {
                JSON.string($0.key).text() + ": " + text($0.value, indent: indent, level: level + 1)
            }
        default: return json.text()
        }
        guard !inner.isEmpty else { return brackets.0 + brackets.1 }
        guard let indent else {
            return brackets.0 + inner.joined(separator: ", ") + brackets.1
        }
        let margin = "\n" + String(repeating: " ", count: indent * (level + 1))
        let end = "\n" + String(repeating: " ", count: indent * level)
        return brackets.0 + margin + inner.joined(separator: "," + margin) + end + brackets.1
    }
}
