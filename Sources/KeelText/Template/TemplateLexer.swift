import KeelCore

/// What the parts of a chat template are made of.
enum TemplateToken: Equatable, Sendable {
    /// Text between tags, as it is printed.
    case text(String)
    case beginPrint, endPrint
    case beginTag, endTag
    case name(String)
    case string(String)
    case int(Int)
    case double(Double)
    /// An operator or a bracket.
    case symbol(String)
}

/// A token and the line it begins on, counted from 1.
struct PlacedToken: Sendable {
    var token: TemplateToken
    var line: Int
}

/// Cuts a template into tokens.
///
/// White space around tags goes as with `trim_blocks` and `lstrip_blocks`: a line feed behind a tag, and spaces in
/// front of a tag that begins its line; `-` takes all white space on its side, `+` leaves it.
struct TemplateLexer {
    private let bytes: [UInt8]
    private let name: String
    private var at = 0
    private var line = 1
    private var tokens: [PlacedToken] = []
    /// What the last tag asks of the text behind it.
    private var trim = Trim.none

    private enum Trim { case none, lineFeed, all }
    private enum Kind { case print, tag, comment }

    /// - Parameter name: what errors call the template.
    init(_ source: String, name: String) {
        var bytes = Array(source.utf8)
        // Jinja drops one line feed at the very end.
        if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
        self.bytes = bytes
        self.name = name
    }

    /// - Throws: `KeelError` (badData) with the line of what cannot be read.
    static func tokens(_ source: String, name: String) throws -> [PlacedToken] {
        var lexer = TemplateLexer(source, name: name)
        try lexer.run()
        return lexer.tokens
    }

    private mutating func run() throws {
        while at < bytes.count {
            guard let (start, kind) = nextTag() else {
                emitText(at..<bytes.count, nil, keepsIndent: true)
                return
            }
            let sign = start + 2 < bytes.count ? bytes[start + 2] : 0
            emitText(at..<start, sign, keepsIndent: kind == .print || sign == UInt8(ascii: "+"))
            at = start + 2
            if sign == UInt8(ascii: "-") || (sign == UInt8(ascii: "+") && kind != .print) {
                at += 1
            }
            switch kind {
            case .comment: try skipComment()
            case .print: try lexTag(.beginPrint, .endPrint, "}}")
            case .tag: try lexTag(.beginTag, .endTag, "%}")
            }
        }
    }

    private func nextTag() -> (start: Int, kind: Kind)? {
        var i = at
        while i + 1 < bytes.count {
            if bytes[i] == UInt8(ascii: "{") {
                switch bytes[i + 1] {
                case UInt8(ascii: "{"): return (i, .print)
                case UInt8(ascii: "%"): return (i, .tag)
                case UInt8(ascii: "#"): return (i, .comment)
                default: break
                }
            }
            i += 1
        }
        return nil
    }

    private mutating func emitText(_ range: Range<Int>, _ sign: UInt8?, keepsIndent: Bool) {
        var (start, end) = (range.lowerBound, range.upperBound)
        switch trim {
        case .all: while start < end, isSpace(bytes[start]) { start += 1 }
        case .lineFeed:
            if start < end, bytes[start] == UInt8(ascii: "\r") { start += 1 }
            if start < end, bytes[start] == UInt8(ascii: "\n") { start += 1 }
        case .none: break
        }
        if sign == UInt8(ascii: "-") {
            while end > start, isSpace(bytes[end - 1]) { end -= 1 }
        } else if !keepsIndent {
            var first = end
            while first > start,
                bytes[first - 1] == UInt8(ascii: " ")
                    || bytes[first - 1] == UInt8(ascii: "\t")
            {
                first -= 1
            }
            let isLineStart =
                first > start ? bytes[first - 1] == UInt8(ascii: "\n") : startsLine(first)
            if isLineStart { end = first }
        }
        if start < end {
            tokens.append(
                PlacedToken(
                    token: .text(String(decoding: bytes[start..<end], as: UTF8.self)), line: line))
        }
        for i in range where bytes[i] == UInt8(ascii: "\n") { line += 1 }
        trim = .none
    }

    /// Whether a place of the source is the start of one of its lines.
    private func startsLine(_ place: Int) -> Bool {
        place == 0 || bytes[place - 1] == UInt8(ascii: "\n")
    }

    private mutating func skipComment() throws {
        while at + 1 < bytes.count {
            if bytes[at] == UInt8(ascii: "#"), bytes[at + 1] == UInt8(ascii: "}") {
                trim = bytes[at - 1] == UInt8(ascii: "-") ? .all : .lineFeed
                at += 2
                return
            }
            if bytes[at] == UInt8(ascii: "\n") { line += 1 }
            at += 1
        }
        throw error("a comment has no end", fix: "close it with #}")
    }

    private mutating func lexTag(
        _ begin: TemplateToken, _ end: TemplateToken, _ close: String
    ) throws {
        let opened = line
        append(begin)
        var depth = 0
        while true {
            while at < bytes.count, isSpace(bytes[at]) {
                if bytes[at] == UInt8(ascii: "\n") { line += 1 }
                at += 1
            }
            guard at < bytes.count else {
                line = opened
                throw error("a tag has no end", fix: "close it with \(close)")
            }
            if depth == 0, starts("-" + close) {
                at += 3
                append(end)
                trim = .all
                return
            }
            if depth == 0, starts("+" + close), close == "%}" {
                at += 3
                append(end)
                return
            }
            if depth == 0, starts(close) {
                at += 2
                append(end)
                trim = close == "%}" ? .lineFeed : .none
                return
            }
            try lexToken(&depth)
        }
    }

    private mutating func lexToken(_ depth: inout Int) throws {
        let byte = bytes[at]
        if isLetter(byte) {
            let start = at
            while at < bytes.count, isLetter(bytes[at]) || isDigit(bytes[at]) { at += 1 }
            append(.name(String(decoding: bytes[start..<at], as: UTF8.self)))
        } else if isDigit(byte) {
            try lexNumber()
        } else if byte == UInt8(ascii: "'") || byte == UInt8(ascii: "\"") {
            try lexString(byte)
        } else {
            for symbol in ["**", "//", "==", "!=", "<=", ">="] where starts(symbol) {
                at += 2
                return append(.symbol(symbol))
            }
            guard "+-*/%~|.,:()[]{}<>=".utf8.contains(byte) else {
                throw error(
                    "the character \"\(String(decoding: [byte], as: UTF8.self))\" means nothing here"
                )
            }
            if "([{".utf8.contains(byte) { depth += 1 }
            if ")]}".utf8.contains(byte) { depth -= 1 }
            at += 1
            append(.symbol(String(decoding: [byte], as: UTF8.self)))
        }
    }

    private mutating func lexNumber() throws {
        let start = at
        var isWhole = true
        while at < bytes.count, isDigit(bytes[at]) || bytes[at] == UInt8(ascii: "_") { at += 1 }
        if at + 1 < bytes.count, bytes[at] == UInt8(ascii: "."), isDigit(bytes[at + 1]) {
            isWhole = false
            at += 1
            while at < bytes.count, isDigit(bytes[at]) { at += 1 }
        }
        if at < bytes.count, bytes[at] | 0x20 == UInt8(ascii: "e") {
            var next = at + 1
            if next < bytes.count, "+-".utf8.contains(bytes[next]) { next += 1 }
            if next < bytes.count, isDigit(bytes[next]) {
                isWhole = false
                at = next
                while at < bytes.count, isDigit(bytes[at]) { at += 1 }
            }
        }
        let text = String(
            decoding: bytes[start..<at].filter { $0 != UInt8(ascii: "_") }, as: UTF8.self)
        if isWhole, let value = Int(text) {
            append(.int(value))
        } else if !isWhole, let value = Double(text) {
            append(.double(value))
        } else {
            throw error("the number \(text) is too long")
        }
    }

    private mutating func lexString(_ quote: UInt8) throws {
        let opened = line
        var out: [UInt8] = []
        at += 1
        while at < bytes.count, bytes[at] != quote {
            if bytes[at] == UInt8(ascii: "\n") { line += 1 }
            guard bytes[at] == UInt8(ascii: "\\"), at + 1 < bytes.count else {
                out.append(bytes[at])
                at += 1
                continue
            }
            at += 1
            switch bytes[at] {
            case UInt8(ascii: "n"): out.append(0x0A)
            case UInt8(ascii: "t"): out.append(0x09)
            case UInt8(ascii: "r"): out.append(0x0D)
            case UInt8(ascii: "u"), UInt8(ascii: "x"):
                let digits = bytes[at] == UInt8(ascii: "u") ? 4 : 2
                let end = min(at + 1 + digits, bytes.count)
                let text = String(decoding: bytes[at + 1..<end], as: UTF8.self)
                guard text.utf8.count == digits, let value = UInt32(text, radix: 16),
                    let scalar = Unicode.Scalar(value)
                else {
                    throw error(
                        "\"\\\(Character(Unicode.Scalar(bytes[at])))\(text)\" is no character")
                }
                out += Array(String(Character(scalar)).utf8)
                at = end - 1
            case UInt8(ascii: "\\"), UInt8(ascii: "'"), UInt8(ascii: "\""): out.append(bytes[at])
            default: out += [UInt8(ascii: "\\"), bytes[at]]
            }
            at += 1
        }
        guard at < bytes.count else {
            line = opened
            throw error("a string has no end", fix: "close the quotation mark")
        }
        at += 1
        append(.string(String(decoding: out, as: UTF8.self)))
    }

    private mutating func append(_ token: TemplateToken) {
        tokens.append(PlacedToken(token: token, line: line))
    }

    private func starts(_ text: String) -> Bool {
        bytes[at...].starts(with: text.utf8)
    }

    private func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }
    private func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }
    private func isLetter(_ byte: UInt8) -> Bool {
        (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte) || byte == UInt8(ascii: "_")
    }

    private func error(_ what: String, fix: String? = nil) -> KeelError {
        KeelError("template", what, at: "\(name):\(line)", fix: fix, code: .badData)
    }
}
