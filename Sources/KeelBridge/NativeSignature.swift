import KeelCore

/// How a C function that knows nothing of Keel is called to score a row, or a whole batch.
///
///     f64(str response, str field:/reference, i32 param:order)
///     void(strs response, size rows, f32 out)
///
/// The first form is called once for each row and returns its score; the second once for a batch and
/// writes one score per row to `out`.
package struct NativeSignature: Sendable, Equatable {
    /// What the function returns.
    package enum Result: String, Sendable, CaseIterable {
        case f64, f32, i64, i32, bool, void
    }

    /// What the function takes.
    package enum Kind: String, Sendable, CaseIterable {
        /// `const char *`, with a NUL behind the text.
        case str
        /// A pointer and a `size_t`: bytes, or `int32_t` token ids and their count.
        case buf
        case f64, f32, i64, i32
        /// `const char *const *`, one text per row.
        case strs
        /// `size_t`, the number of rows.
        case size

        var isNumber: Bool { self == .f64 || self == .f32 || self == .i64 || self == .i32 }
        var isText: Bool { self == .str || self == .buf }
    }

    /// Where the value of an argument comes from.
    package enum Source: Sendable, Equatable {
        case prompt, response, row, tokens
        /// A JSON pointer into the data set row.
        case field(String)
        /// A key of the reward's `params`.
        case param(String)
        /// The number of rows of a batch, and where their scores go.
        case rows, out

        /// As the worker reads it.
        var text: String {
            switch self {
            case .prompt: "prompt"
            case .response: "response"
            case .row: "row"
            case .tokens: "tokens"
            case .field(let pointer): "field:\(pointer)"
            case .param(let name): "param:\(name)"
            case .rows: "rows"
            case .out: "out"
            }
        }
    }

    package struct Argument: Sendable, Equatable {
        package var kind: Kind
        package var source: Source
    }

    /// A mistake in a signature's text.
    package struct Problem: Error, Sendable, Equatable {
        /// The character where it is, from 1.
        package var position: Int
        package var what: String
        package var fix: String
    }

    /// Everything that is wrong with a signature.
    package struct Problems: Error, Sendable, Equatable {
        package var list: [Problem]
    }

    package let result: Result
    package let arguments: [Argument]

    /// Whether one call scores all rows of a batch.
    package var isBatch: Bool { result == .void }

    /// The most arguments a signature may have.
    static let maximum = 32

    /// - Throws: all mistakes in the text at once.
    package init(_ text: String) throws(Problems) {
        var parser = NativeSignatureParser(text)
        (result, arguments) = try parser.parse()
    }

    /// The parameters that the function is given, in the order of the signature, each once.
    package var parameters: [(name: String, kind: Kind)] {
        var seen: Set<String> = []
        return arguments.compactMap { argument in
            guard case .param(let name) = argument.source, seen.insert(name).inserted else {
                return nil
            }
            return (name, argument.kind)
        }
    }

    /// The signature in its plain spelling.
    package var text: String {
        let list = arguments.map { argument in
            guard case .field(let pointer) = argument.source,
                pointer.contains(where: { $0.isWhitespace || "(),".contains($0) })
            else { return "\(argument.kind.rawValue) \(argument.source.text)" }
            let quote = pointer.contains("'") ? "\"" : "'"
            return "\(argument.kind.rawValue) field:\(quote)\(pointer)\(quote)"
        }
        return "\(result.rawValue)(\(list.joined(separator: ", ")))"
    }

    /// One line for the result and one for each argument, as the worker reads them.
    var lines: String {
        ([result.rawValue] + arguments.map { "\($0.kind.rawValue) \($0.source.text)" })
            .joined(separator: "\n")
    }

    /// What the function must be declared as in C for the calls to be right.
    package func declaration(of symbol: String) -> String {
        let results: [Result: String] = [
            .f64: "double", .f32: "float", .i64: "int64_t", .i32: "int32_t", .bool: "_Bool",
            .void: "void",
        ]
        let list = arguments.map { argument in
            let name = NativeSignature.identifier(argument.source)
            switch argument.kind {
            case .str: return "const char *\(name)"
            case .buf where argument.source == .tokens:
                return "const int32_t *\(name), size_t \(name)_count"
            case .buf: return "const char *\(name), size_t \(name)_length"
            case .f64: return argument.source == .out ? "double *\(name)" : "double \(name)"
            case .f32: return argument.source == .out ? "float *\(name)" : "float \(name)"
            case .i64: return "int64_t \(name)"
            case .i32: return "int32_t \(name)"
            case .strs: return "const char *const *\(name)"
            case .size: return "size_t \(name)"
            }
        }
        let inside = list.isEmpty ? "void" : list.joined(separator: ", ")
        return "\(results[result] ?? "void") \(symbol)(\(inside))"
    }

    /// A name for an argument in a declaration.
    private static func identifier(_ source: Source) -> String {
        let text: String
        switch source {
        case .field(let pointer):
            text = pointer.split(separator: "/").last.map(String.init) ?? "row"
        case .param(let name): text = name
        default: text = source.text
        }
        let letters = text.unicodeScalars.map { scalar in
            let isPlain =
                ("a"..."z").contains(scalar) || ("A"..."Z").contains(scalar)
                || ("0"..."9").contains(scalar)
            return isPlain ? Character(scalar) : "_"
        }
        return letters.first.map { $0.isNumber ? "_" + String(letters) : String(letters) }
            ?? "value"
    }
}

/// Reads a signature's text and goes on after a mistake, so that all are told at once.
private struct NativeSignatureParser {
    private let text: [Character]
    private var at = 0
    /// Whether the end was reached by a mistake that is told already.
    private var isLost = false
    private var problems: [NativeSignature.Problem] = []

    init(_ text: String) { self.text = Array(text) }

    typealias Result = NativeSignature.Result
    typealias Kind = NativeSignature.Kind
    typealias Source = NativeSignature.Source
    typealias Argument = NativeSignature.Argument

    /// An argument with the places of its type and of its source.
    private struct Placed {
        var argument: Argument
        var kindAt: Int
        var sourceAt: Int
    }

    private static let shape =
        "write RETURN(TYPE SOURCE, ...), for example f64(str response, str field:/reference)"
    private static let sources =
        "sources: prompt, response, row, tokens, field:/POINTER, param:NAME; rows and out in the batch form"

    /// What people write for a type, from C and other tools.
    private static let synonyms = [
        "double": "f64", "float": "f32", "float64": "f64", "float32": "f32", "int": "i32",
        "int32": "i32", "int32_t": "i32", "long": "i64", "int64": "i64", "int64_t": "i64",
        "string": "str", "char*": "str", "cstr": "str", "text": "str", "bytes": "buf",
        "_Bool": "bool", "boolean": "bool", "size_t": "size", "usize": "size",
    ]

    mutating func parse() throws(NativeSignature.Problems) -> (Result, [Argument]) {
        let result = readResult()
        let placed = readArguments()
        if problems.isEmpty { checkTogether(result, placed) }
        guard let result, problems.isEmpty else {
            throw NativeSignature.Problems(list: problems.sorted { $0.position < $1.position })
        }
        return (result, placed.map(\.argument))
    }

    // MARK: - Characters

    private mutating func report(_ position: Int, _ what: String, _ fix: String) {
        problems.append(NativeSignature.Problem(position: position + 1, what: what, fix: fix))
    }

    private mutating func skipSpace() {
        while at < text.count, text[at].isWhitespace { at += 1 }
    }

    private func isNext(_ character: Character) -> Bool { at < text.count && text[at] == character }

    /// Characters up to one that ends a word.
    private mutating func word() -> String {
        let start = at
        while at < text.count, !text[at].isWhitespace, !"(),".contains(text[at]) { at += 1 }
        return String(text[start..<at])
    }

    // MARK: - Parts

    private mutating func readResult() -> Result? {
        skipSpace()
        let start = at
        let name = word()
        skipSpace()
        guard isNext("(") else {
            report(
                at,
                at < text.count ? "a \"(\" is missing here" : "the signature ends without \"(\"",
                NativeSignatureParser.shape)
            at = text.count
            return nil
        }
        at += 1
        if let result = Result(rawValue: name) { return result }
        let known = Result.allCases.map(\.rawValue)
        if name.isEmpty {
            report(
                start, "the type that the function returns is missing", NativeSignatureParser.shape)
        } else if Kind(rawValue: name).map({ $0.isText || $0 == .strs }) ?? false {
            report(
                start, "a function that returns \(name) gives no score",
                "a score is a number: f64, f32, i64, i32 or bool")
        } else {
            report(
                start, "\"\(name)\" is no type that a function returns",
                suggestion(name, known) + "types: \(known.joined(separator: ", "))")
        }
        return nil
    }

    private func suggestion(_ name: String, _ known: [String]) -> String {
        let meant =
            NativeSignatureParser.synonyms[name].flatMap { known.contains($0) ? $0 : nil }
            ?? nearest(name, among: known)
        return meant.map { "did you mean \"\($0)\"? " } ?? ""
    }

    private mutating func readArguments() -> [Placed] {
        var placed: [Placed] = []
        guard at < text.count else { return [] }
        skipSpace()
        if isNext(")") {
            at += 1
            readEnd()
            return []
        }
        while true {
            if let argument = readArgument() { placed.append(argument) }
            skipSpace()
            if at < text.count, !isNext(","), !isNext(")") {
                report(
                    at, "\"\(text[at])\" is not expected here", "write a comma between arguments")
                while at < text.count, !isNext(","), !isNext(")") { at += 1 }
            }
            guard at < text.count else {
                if !isLost {
                    report(at, "the signature ends without \")\"", "close the list of arguments")
                }
                break
            }
            at += 1
            if text[at - 1] == ")" {
                readEnd()
                break
            }
        }
        if placed.count > NativeSignature.maximum {
            report(
                placed[NativeSignature.maximum].kindAt, "there are \(placed.count) arguments",
                "use \(NativeSignature.maximum) at most")
        }
        return placed
    }

    private mutating func readEnd() {
        skipSpace()
        guard at < text.count else { return }
        report(at, "something follows the closing parenthesis", "end the signature there")
    }

    private mutating func readArgument() -> Placed? {
        skipSpace()
        let kindAt = at
        let name = word()
        guard !name.isEmpty else {
            report(kindAt, "an argument is missing", "write TYPE SOURCE, or leave the comma out")
            return nil
        }
        skipSpace()
        let sourceAt = at
        let source = readSource()
        guard let kind = Kind(rawValue: name) else {
            let known = Kind.allCases.map(\.rawValue)
            var fix = suggestion(name, known) + "types: \(known.joined(separator: ", "))"
            if Source.word(name) != nil || name.hasPrefix("field:") || name.hasPrefix("param:") {
                let kinds = ["rows": "size", "out": "f32", "tokens": "buf"]
                fix = "write the type before it: \(kinds[name] ?? "str") \(name)"
                // A source that stands without a type is one mistake, not two.
                problems.removeAll { $0.position == sourceAt + 1 }
            }
            report(kindAt, "\"\(name)\" is no type of an argument", fix)
            return nil
        }
        guard let source else { return nil }
        return Placed(
            argument: Argument(kind: kind, source: source), kindAt: kindAt, sourceAt: sourceAt)
    }

    private mutating func readSource() -> Source? {
        let start = at
        for prefix in ["field:", "param:"] where text[at...].starts(with: prefix) {
            at += prefix.count
            guard let value = readValue() else { return nil }
            return prefix == "field:" ? field(value, start + prefix.count) : param(value, start)
        }
        let name = word()
        if let source = Source.word(name) { return source }
        if name.isEmpty {
            report(start, "the argument has no source", NativeSignatureParser.sources)
        } else if name == "field" || name.hasPrefix("field") {
            report(
                start, "\"\(name)\" is no source", "write field:/NAME for the field NAME of the row"
            )
        } else if name == "param" {
            report(start, "\"param\" is no source", "write param:NAME for a key of \"params\"")
        } else {
            let words = Source.words.map(\.text)
            report(
                start, "\"\(name)\" is no source",
                (nearest(name, among: words).map { "did you mean \"\($0)\"? " } ?? "")
                    + NativeSignatureParser.sources)
        }
        return nil
    }

    /// A word, or anything between quotes.
    private mutating func readValue() -> String? {
        guard at < text.count, text[at] == "'" || text[at] == "\"" else { return word() }
        let (start, quote) = (at, text[at])
        guard let end = text[(at + 1)...].firstIndex(of: quote) else {
            report(start, "the quotation does not end", "close it with \(quote)")
            at = text.count
            isLost = true
            return nil
        }
        at = end + 1
        return String(text[(start + 1)..<end])
    }

    private mutating func field(_ pointer: String, _ position: Int) -> Source? {
        guard pointer.hasPrefix("/") else {
            report(
                position, "\"\(pointer)\" is no JSON pointer",
                "write field:/\(pointer.isEmpty ? "NAME" : pointer)")
            return nil
        }
        guard !pointer.unicodeScalars.contains(where: { $0.value < 0x20 }) else {
            report(position, "the JSON pointer holds a control character", "rename the field")
            return nil
        }
        return .field(pointer)
    }

    private mutating func param(_ name: String, _ position: Int) -> Source? {
        let isPlain = name.unicodeScalars.allSatisfy {
            $0 == "_" || $0 == "-" || $0 == "." || $0.properties.isAlphabetic
                || ("0"..."9").contains($0)
        }
        guard !name.isEmpty, isPlain else {
            report(
                position, "\"param:\(name)\" names no parameter",
                "write param:NAME for a key of \"params\"")
            return nil
        }
        return .param(name)
    }

    // MARK: - What fits what

    private mutating func checkTogether(_ result: Result?, _ placed: [Placed]) {
        guard let result else { return }
        let isBatch = result == .void
        for one in placed { checkPair(one, isBatch: isBatch) }
        checkParameters(placed)
        if isBatch { checkBatch(placed) }
    }

    private mutating func checkPair(_ one: Placed, isBatch: Bool) {
        let (kind, source) = (one.argument.kind, one.argument.source)
        switch (kind, source) {
        case (.size, .rows): if !isBatch { refuseBatch(one) }
        case (.size, _):
            report(one.sourceAt, "size takes the number of rows only", "write size rows")
        case (_, .rows): report(one.kindAt, "rows is a size", "write size rows")
        case (.f32, .out), (.f64, .out): if !isBatch { refuseBatch(one) }
        case (_, .out):
            report(one.kindAt, "scores are not written as \(kind.rawValue)", "write f32 out")
        case (.strs, .tokens):
            report(one.sourceAt, "token ids are no text", "use the form for one row: buf tokens")
        case (.strs, .param):
            report(one.kindAt, "a parameter is the same for all rows", "write str \(source.text)")
        case (.strs, _): if !isBatch { refuseBatch(one) }
        case (_, .param): break
        case (_, _) where isBatch:
            report(
                one.kindAt,
                "\(kind.rawValue) \(source.text) is one row's, but void(...) takes a batch",
                "write strs \(source.text), or return f64 to be called once for each row")
        case (.str, .tokens): report(one.kindAt, "token ids are no text", "write buf tokens")
        case (.str, _), (.buf, _), (_, .field): break
        default:
            report(
                one.kindAt, "\(source.text) is no number",
                "write \(source == .tokens ? "buf" : "str") \(source.text)")
        }
    }

    private mutating func refuseBatch(_ one: Placed) {
        report(
            one.kindAt,
            "\(one.argument.kind.rawValue) \(one.argument.source.text) belongs to the batch form",
            "return void to be called once for a batch, or take one row: f64(str response)")
    }

    /// A parameter is a text or a number, not both.
    private mutating func checkParameters(_ placed: [Placed]) {
        var isText: [String: Bool] = [:]
        for one in placed {
            guard case .param(let name) = one.argument.source else { continue }
            if let before = isText[name], before != one.argument.kind.isText {
                report(
                    one.kindAt, "parameter \"\(name)\" is both a text and a number",
                    "use two parameters")
            }
            isText[name] = one.argument.kind.isText
        }
    }

    private mutating func checkBatch(_ placed: [Placed]) {
        let outs = placed.filter { $0.argument.source == .out }
        if outs.isEmpty {
            report(
                0, "a function that returns void has nowhere to put its scores",
                "add the argument f32 out, or return f64")
        }
        if outs.count > 1 {
            report(outs[1].kindAt, "the scores have two places", "keep one f32 out")
        }
        if !placed.contains(where: { $0.argument.source == .rows }) {
            report(
                0, "the function is not told how many rows there are", "add the argument size rows")
        }
        if !placed.contains(where: { $0.argument.kind == .strs }) {
            report(0, "the function sees nothing of the rows", "add the argument strs response")
        }
    }
}

extension NativeSignature.Source {
    /// The sources that are one word.
    static let words: [NativeSignature.Source] = [.prompt, .response, .row, .tokens, .rows, .out]

    static func word(_ text: String) -> NativeSignature.Source? {
        words.first { $0.text == text }
    }
}
