import KeelCore
import KeelModel
import KeelText

/// A tokenizer.json in the words of GGUF (`tokenizer.ggml.*`).
///
/// llama.cpp has its own tokenizers and picks one by name: byte-level BPE (`gpt2`, with a splitter `pre`), SentencePiece BPE
/// (`llama`), Unigram (`t5`). What it has no name for is written under the nearest one, and said in `notes`.
struct GGUFVocabulary {
    private let json: JSON
    private let path: String
    private let tokenizer: Tokenizer
    private let size: Int
    /// Told to the user.
    private(set) var notes: [String] = []

    /// llama.cpp's `llama_token_type`.
    private enum TokenType: Int32 {
        case normal = 1
        case unknown = 2
        case control = 3
        case userDefined = 4
        case unused = 5
        case byte = 6
    }

    /// - Parameter size: rows of the embedding.
    /// - Throws: `KeelError` (badData) for a tokenizer with more ids than the model.
    init(directory: String, tokenizer: Tokenizer, size: Int) throws {
        path = Files.join(directory, "tokenizer.json")
        json = try JSON.parse(try Files.read(path), name: path)
        self.tokenizer = tokenizer
        self.size = size
        guard tokenizer.idLimit <= size else {
            throw KeelError(
                "model", "the tokenizer has \(tokenizer.idLimit) ids, the model \(size)", at: path,
                fix: "use the tokenizer that the model was trained with", code: .badData)
        }
    }

    /// Adds everything that loaders need to cut and join text.
    ///
    /// - Throws: `KeelError` (badData) for a kind of tokenizer that llama.cpp has none for.
    mutating func describe(_ file: inout GGUFFile) throws {
        let model = json["model"] ?? .null
        let kind = model["type"]?.string ?? "BPE"
        let isByteFallback = model["byte_fallback"]?.bool ?? false
        var scores: [Float]?
        switch kind {
        case "BPE" where isByteFallback || !isByteLevel:
            file.set("tokenizer.ggml.model", .string("llama"))
            file.set("tokenizer.ggml.pre", .string("default"))
            scores = mergeScores(model)
            file.set("tokenizer.ggml.add_space_prefix", .bool(prependsSpace))
        case "BPE":
            file.set("tokenizer.ggml.model", .string("gpt2"))
            file.set("tokenizer.ggml.pre", .string(splitter()))
            file.set("tokenizer.ggml.merges", .strings(mergeTexts(model)))
            noteNormalizer()
        case "Unigram":
            file.set("tokenizer.ggml.model", .string("t5"))
            file.set("tokenizer.ggml.pre", .string("default"))
            scores = unigramScores(model)
            file.set("tokenizer.ggml.add_space_prefix", .bool(true))
            file.set("tokenizer.ggml.remove_extra_whitespaces", .bool(true))
            file.set("tokenizer.ggml.precompiled_charsmap", charsmap().map { .bytes($0) })
        default:
            throw KeelError(
                "model", "llama.cpp has no \(kind) tokenizer for language models", at: path,
                fix: "export a model with a BPE or Unigram tokenizer", code: .badData)
        }
        let types = types(isByteFallback: isByteFallback, model)
        file.set("tokenizer.ggml.tokens", .strings(tokens()))
        file.set("tokenizer.ggml.token_type", .i32s(types.map(\.rawValue)))
        file.set("tokenizer.ggml.scores", scores.map { .f32s($0) })
        try describeSpecial(&file)
    }

    /// The tokens with a role, and the template.
    private func describeSpecial(_ file: inout GGUFFile) throws {
        let special = tokenizer.special
        let roles: [(String, Int32?)] = [
            ("bos", special.bos), ("eos", special.eos), ("unknown", special.unk),
            ("padding", special.pad),
        ]
        for (role, id) in roles {
            file.set("tokenizer.ggml.\(role)_token_id", id.map { .u32(Int($0)) })
        }
        let around = try tokenizer.ids("a")
        file.set("tokenizer.ggml.add_bos_token", .bool(around.first == special.bos))
        file.set(
            "tokenizer.ggml.add_eos_token", .bool(around.count > 1 && around.last == special.eos))
        if let source = try ChatTemplate.source(directory: Files.parent(path)) {
            file.set("tokenizer.chat_template", .string(source.text))
        }
    }

    // MARK: - Tokens

    /// One for each row of the embedding.
    private func tokens() -> [String] {
        (0..<Int32(size)).map { tokenizer.text(of: $0) ?? "[PAD\($0)]" }
    }

    private func types(isByteFallback: Bool, _ model: JSON) -> [TokenType] {
        var types = (0..<Int32(size)).map { id -> TokenType in
            guard let text = tokenizer.text(of: id) else { return .unused }
            let isByte = isByteFallback && text.utf8.count == 6 && text.hasPrefix("<0x")
            return isByte && text.hasSuffix(">") ? .byte : .normal
        }
        for token in json["added_tokens"]?.array ?? [] {
            guard let id = token["id"]?.int, types.indices.contains(id) else { continue }
            types[id] = token["special"]?.bool == true ? .control : .userDefined
        }
        let unknown =
            model["unk_id"]?.int
            ?? model["unk_token"]?.string.flatMap { name in
                tokenizer.id(of: name).map(Int.init)
            }
        if let unknown, types.indices.contains(unknown) { types[unknown] = .unknown }
        return types
    }

    /// `a b`, in the order of the file; old files write them so, new ones as pairs.
    private func mergePairs(_ model: JSON) -> [(String, String)] {
        (model["merges"]?.array ?? []).compactMap { merge in
            if let pair = merge.array, pair.count == 2 {
                guard let left = pair[0].string, let right = pair[1].string else { return nil }
                return (left, right)
            }
            guard let text = merge.string else { return nil }
            let halves = text.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
            return halves.count == 2 ? (String(halves[0]), String(halves[1])) : nil
        }
    }

    private func mergeTexts(_ model: JSON) -> [String] {
        mergePairs(model).map { "\($0) \($1)" }
    }

    /// SentencePiece merges what has the highest score: the first merge that makes a token says when.
    private func mergeScores(_ model: JSON) -> [Float] {
        let pairs = mergePairs(model)
        // Characters are never merged into: after all others.
        var scores = [Float](repeating: -Float(pairs.count + 1), count: size)
        for (rank, pair) in pairs.enumerated().reversed() {
            guard let id = tokenizer.id(of: pair.0 + pair.1), Int(id) < size else { continue }
            scores[Int(id)] = -Float(rank)
        }
        for token in json["added_tokens"]?.array ?? [] {
            if let id = token["id"]?.int, scores.indices.contains(id) { scores[id] = 0 }
        }
        return scores
    }

    private func unigramScores(_ model: JSON) -> [Float] {
        var scores = [Float](repeating: 0, count: size)
        for (id, entry) in (model["vocab"]?.array ?? []).enumerated() where id < size {
            scores[id] = Float(entry.array?.last?.number ?? 0)
        }
        return scores
    }

    // MARK: - How text is cut

    /// Every component of a part of the file that may be a sequence.
    private func steps(_ part: JSON?, _ list: String) -> [JSON] {
        guard let part, part.object != nil else { return [] }
        guard part["type"]?.string == "Sequence" else { return [part] }
        return (part[list]?.array ?? []).flatMap { steps($0, list) }
    }

    private var cutters: [JSON] { steps(json["pre_tokenizer"], "pretokenizers") }
    private var normalizers: [JSON] { steps(json["normalizer"], "normalizers") }

    private var isByteLevel: Bool {
        cutters.contains { $0["type"]?.string == "ByteLevel" }
            || steps(json["decoder"], "decoders").contains { $0["type"]?.string == "ByteLevel" }
    }

    /// Whether a text begins with a space that nobody wrote.
    private var prependsSpace: Bool {
        normalizers.contains { $0["type"]?.string == "Prepend" }
            || cutters.contains {
                $0["type"]?.string == "Metaspace"
                    && ($0["prepend_scheme"]?.string ?? "always") != "never"
                    && $0["add_prefix_space"]?.bool != false
            }
    }

    /// llama.cpp's name of the way a byte-level tokenizer cuts words.
    private mutating func splitter() -> String {
        let marks = cutters.map { step -> String in
            switch step["type"]?.string {
            case "ByteLevel": step["use_regex"]?.bool ?? true ? "words" : ""
            case "Digits": step["individual_digits"]?.bool == true ? "digit" : "digits"
            case "Split": step["pattern"]?["Regex"]?.string ?? "string"
            default: step["type"]?.string ?? ""
            }
        }.filter { !$0.isEmpty }
        if let name = GGUFVocabulary.splitters.first(where: { $0.marks == marks })?.name {
            return name
        }
        notes.append(
            "llama.cpp has no name for the way this tokenizer cuts words; \"default\" may cut some "
                + "texts otherwise")
        return "default"
    }

    private static let letters = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
    private static let rest = "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

    private static let splitters: [(name: String, marks: [String])] = [
        ("gpt-2", ["words"]),
        ("smollm", ["digit", "words"]),
        ("llama-bpe", [letters + "\\p{N}{1,3}" + rest]),
        ("qwen2", [letters + "\\p{N}" + rest]),
        (
            "deepseek-v3",
            [
                "\\p{N}{1,3}", "[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+",
                "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
                    + "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*"
                    + "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
            ]
        ),
    ]

    /// Byte-level tokenizers of llama.cpp take text as it is.
    private mutating func noteNormalizer() {
        let names = normalizers.compactMap { $0["type"]?.string }.filter { $0 != "NFC" }
        guard !names.isEmpty else { return }
        notes.append(
            "llama.cpp does not normalise text for this tokenizer (\(names.joined(separator: ", ")))"
        )
    }

    private func charsmap() -> [UInt8]? {
        normalizers.lazy.compactMap { $0["precompiled_charsmap"]?.string }.first
            .flatMap { Base64.decode($0) }
    }
}
