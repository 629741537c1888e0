/// A first look at JSON text: blanks comments, notes where every key stands, finds what json-c lets pass.
package struct JSONScanner {
    /// Byte offset of every key, by its path (`train.learning_rate`, `rewards.0.plugin`).
    package var keyOffsets: [String: Int] = [:]
    /// The text with comments replaced by blanks (only when comments were allowed).
    package var cleaned: [UInt8] = []

    package struct Options: OptionSet, Sendable {
        package let rawValue: Int
        package init(rawValue: Int) { self.rawValue = rawValue }
        /// `// ...` and `/* ... */` are blanked instead of refused.
        package static let comments = Options(rawValue: 1)
        /// Key offsets are recorded.
        package static let keyOffsets = Options(rawValue: 2)
    }

    /// `name:line:column` of a byte offset; lines and columns count from 1.
    package static func place(
        _ bytes: UnsafeRawBufferPointer, _ offset: Int, _ name: String
    ) -> String {
        var line = 1
        var start = 0
        for (i, byte) in bytes.prefix(offset).enumerated() where byte == 0x0A {
            line += 1
            start = i + 1
        }
        return "\(name):\(line):\(offset - start + 1)"
    }

    /// Scans a whole text.
    ///
    /// - Throws: `KeelError` (badData) for comments where they are not allowed, single quotes, NaN and
    ///   Infinity, integers beyond 64 bits, NUL in keys, keys given twice (`duplicates: .reject`), and
    ///   nesting beyond `maxDepth`. Other mistakes are left to the parser.
    package static func scan(
        _ bytes: UnsafeRawBufferPointer, name: String, options: Options = [],
        duplicates: JSON.Duplicates = .lastWins, maxDepth: Int = 512
    ) throws -> JSONScanner {
        var run = Run(
            bytes: bytes, name: name, options: options, duplicates: duplicates, maxDepth: maxDepth)
        try run.scan()
        return run.result
    }

    package static func scan(
        _ bytes: [UInt8], name: String, options: Options = [],
        duplicates: JSON.Duplicates = .lastWins, maxDepth: Int = 512
    ) throws -> JSONScanner {
        try bytes.withUnsafeBytes {
            try scan($0, name: name, options: options, duplicates: duplicates, maxDepth: maxDepth)
        }
    }
}

private struct Run {
    let bytes: UnsafeRawBufferPointer
    let name: String
    let options: JSONScanner.Options
    let duplicates: JSON.Duplicates
    let maxDepth: Int
    var result = JSONScanner()
    var stack: [Level] = []

    /// One open object or list.
    struct Level {
        var isObject: Bool
        var path: String
        var index = 0
        var expectsKey: Bool
        var key = ""
        var seen: Set<[UInt8]> = []
    }

    init(
        bytes: UnsafeRawBufferPointer, name: String, options: JSONScanner.Options,
        duplicates: JSON.Duplicates, maxDepth: Int
    ) {
        self.bytes = bytes
        self.name = name
        self.options = options
        self.duplicates = duplicates
        self.maxDepth = maxDepth
        if options.contains(.comments) { result.cleaned = Array(bytes) }
    }

    func failure(_ what: String, _ offset: Int, fix: String? = nil) -> KeelError {
        KeelError(
            "json", what, at: JSONScanner.place(bytes, offset, name), fix: fix, code: .badData)
    }

    mutating func scan() throws {
        var i = 0
        while i < bytes.count {
            switch bytes[i] {
            case UInt8(ascii: "\""): i = try string(from: i)
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                try open(isObject: bytes[i] == UInt8(ascii: "{"), i)
            case UInt8(ascii: "}"), UInt8(ascii: "]"): if !stack.isEmpty { stack.removeLast() }
            case UInt8(ascii: ","):
                if !stack.isEmpty {
                    stack[stack.count - 1].index += 1
                    stack[stack.count - 1].expectsKey = stack[stack.count - 1].isObject
                }
            case UInt8(ascii: "/"): i = try comment(from: i)
            case UInt8(ascii: "'"):
                throw failure("a string in single quotes", i, fix: "use double quotes")
            case UInt8(ascii: "N"), UInt8(ascii: "I"):
                throw failure(
                    "NaN and Infinity are not JSON", i, fix: "write a finite number, or null")
            case UInt8(ascii: "0")...UInt8(ascii: "9"): i = try number(from: i)
            case 0: throw failure("a NUL byte", i)
            default: break
            }
            i += 1
        }
    }

    mutating func open(isObject: Bool, _ offset: Int) throws {
        guard stack.count < maxDepth else {
            throw failure("nested deeper than \(maxDepth) levels", offset)
        }
        var path = ""
        if options.contains(.keyOffsets), let top = stack.last {
            let step = top.isObject ? top.key : String(top.index)
            path = top.path.isEmpty ? step : top.path + "." + step
        }
        stack.append(Level(isObject: isObject, path: path, expectsKey: isObject))
    }

    /// Returns the offset of the closing quote.
    mutating func string(from start: Int) throws -> Int {
        var i = start + 1
        var hasEscape = false
        while i < bytes.count, bytes[i] != UInt8(ascii: "\"") {
            if bytes[i] == UInt8(ascii: "\\") {
                hasEscape = true
                i += 1
            } else if bytes[i] < 0x20 {
                throw failure(
                    "a control character inside a string", i,
                    fix: "write it as an escape such as \\n")
            }
            i += 1
        }
        guard i < bytes.count else { throw failure("a string that is never closed", start) }
        guard let top = stack.last, top.expectsKey else { return i }
        stack[stack.count - 1].expectsKey = false
        guard duplicates == .reject || options.contains(.keyOffsets) || hasEscape else { return i }
        let raw = Array(bytes[(start + 1)..<i])
        let key = hasEscape ? try unescaped(start, i) : raw
        guard !key.contains(0) else { throw failure("a key with a NUL character", start) }
        if duplicates == .reject, !stack[stack.count - 1].seen.insert(key).inserted {
            throw failure(
                "the key \"\(String(decoding: key, as: UTF8.self))\" is given twice", start,
                fix: "remove one of the two")
        }
        if options.contains(.keyOffsets) {
            let text = String(decoding: key, as: UTF8.self)
            stack[stack.count - 1].key = text
            result.keyOffsets[top.path.isEmpty ? text : top.path + "." + text] = start
        }
        return i
    }

    private func unescaped(_ start: Int, _ end: Int) throws -> [UInt8] {
        let slice = UnsafeRawBufferPointer(rebasing: bytes[start...end])
        let value = try JSON.parseScanned(slice, name: name, maxDepth: 2)
        return Array((value.string ?? "").utf8)
    }

    /// Returns the offset of the last character of the number.
    func number(from start: Int) throws -> Int {
        var i = start
        var isInteger = true
        while i < bytes.count {
            switch bytes[i] {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): break
            case UInt8(ascii: "."):
                isInteger = false
                guard i + 1 < bytes.count, (0x30...0x39).contains(bytes[i + 1]) else {
                    throw failure("a number that ends in a point", start)
                }
            case UInt8(ascii: "e"), UInt8(ascii: "E"), UInt8(ascii: "+"), UInt8(ascii: "-"):
                isInteger = false
            default:
                try check(start..<i, isInteger)
                return i - 1
            }
            i += 1
        }
        try check(start..<i, isInteger)
        return i - 1
    }

    private func check(_ range: Range<Int>, _ isInteger: Bool) throws {
        guard range.count > 18 || !isInteger else { return }
        let text = String(decoding: bytes[range], as: UTF8.self)
        let isNegative = range.lowerBound > 0 && bytes[range.lowerBound - 1] == UInt8(ascii: "-")
        if isInteger {
            let fits = isNegative ? Int64("-" + text) != nil : UInt64(text) != nil
            guard fits else {
                throw failure(
                    "the integer \(text.prefix(40)) does not fit 64 bits", range.lowerBound)
            }
        } else if let value = Double(text), !value.isFinite {
            throw failure("the number \(text.prefix(40)) is too large", range.lowerBound)
        }
    }

    /// Returns the offset of the comment's last byte, which is blanked with the rest.
    mutating func comment(from start: Int) throws -> Int {
        guard options.contains(.comments) else {
            throw failure(
                "a comment, or a stray /", start, fix: "only Keel's configs take comments")
        }
        var end = start + 1
        if end < bytes.count, bytes[end] == UInt8(ascii: "/") {
            while end + 1 < bytes.count, bytes[end + 1] != 0x0A { end += 1 }
        } else if end < bytes.count, bytes[end] == UInt8(ascii: "*") {
            end += 2
            while end < bytes.count,
                !(bytes[end] == UInt8(ascii: "/") && bytes[end - 1] == UInt8(ascii: "*"))
            {
                end += 1
            }
            guard end < bytes.count else { throw failure("a comment that is never closed", start) }
            if end < start + 3 { throw failure("a comment that is never closed", start) }
        } else {
            throw failure("a stray /", start)
        }
        for i in start...end where result.cleaned[i] != 0x0A { result.cleaned[i] = 0x20 }
        return end
    }
}
