import KeelCore

/// Text to token ids and back, as a Hugging Face `tokenizer.json` describes it.
///
/// One object may serve several threads at once.
package final class Tokenizer: Sendable {
    private let normalizer: (any Normalizer)?
    private let preTokenizer: (any PreTokenizer)?
    private let model: any TokenModel
    private let postProcessor: (any PostProcessor)?
    private let decoder: (any Decoder)?
    private let added: [Int32: AddedToken]
    private let addedIDs: ByteTable
    private let addedOrder: [Int32]
    private let rawMatcher: AddedTokenMatcher
    private let normalizedMatcher: AddedTokenMatcher
    private let pool = ScratchPool()

    /// The tokens with a role: bos, eos, pad, unk.
    package let special: SpecialTokens
    /// SHA-256 of tokenizer.json, for caches of tokenised text.
    package let contentHash: String
    /// The model's tokens and the added ones.
    package let vocabularySize: Int
    /// One more than the largest id: the rows an embedding needs at least.
    package let idLimit: Int

    package var bosID: Int32? { special.bos }
    package var eosID: Int32? { special.eos }
    package var padID: Int32? { special.pad }

    /// Reads `tokenizer.json` and, when they exist, `tokenizer_config.json` and
    /// `special_tokens_map.json`.
    ///
    /// - Throws: `KeelError`: noInput without tokenizer.json, badData when a file is broken or
    ///   names a type of component that is not known.
    package static func load(directory: String) throws -> Tokenizer {
        let path = Files.join(directory, "tokenizer.json")
        guard Files.exists(path) else {
            throw KeelError(
                "tokenizer", "there is no tokenizer.json in the model's folder", at: directory,
                fix: "copy tokenizer.json from the model's repository into that folder",
                code: .noInput)
        }
        let file = try MappedFile(path)
        return try withExtendedLifetime(file) {
            try Tokenizer(json: file.bytes, name: path, directory: directory)
        }
    }

    /// Reads the text of a tokenizer.json.
    ///
    /// - Parameters:
    ///   - name: shown in errors.
    ///   - directory: where the files that name the special tokens are; nil for none.
    package init(json bytes: UnsafeRawBufferPointer, name: String, directory: String? = nil) throws
    {
        let json: JSON
        do {
            json = try JSON.parse(bytes, name: name)
        } catch let error as KeelError {
            throw error.fixed(by: "get tokenizer.json from the model's repository again")
        }
        let file = Part(json, file: name, path: "")
        guard file.json.object != nil else {
            throw file.error("tokenizer.json must hold an object, found \(file.json.kind)")
        }
        contentHash = SHA256.hex(bytes)
        // Old files leave the type out; only BPE has merges.
        let isUntyped =
            file["model"]["type"].json.isNull && file["model"]["merges"].json.array != nil
        model = try Components.models.make(file["model"], type: isUntyped ? "BPE" : nil)
        normalizer = try Components.normalizers.optional(file["normalizer"])
        preTokenizer = try Components.preTokenizers.optional(file["pre_tokenizer"])
        postProcessor = try Components.postProcessors.optional(file["post_processor"])
        decoder = try Components.decoders.optional(file["decoder"])

        let vocabulary = model.vocabulary
        let tokens =
            file["added_tokens"].json.isNull
            ? [] : try file["added_tokens"].list().map { try AddedToken($0, vocabulary) }
        var table = ByteTable(capacity: tokens.count)
        var order: [Int32] = []
        for token in tokens where table.insert(token.content, 0..<token.content.count).isNew {
            order.append(token.id)
        }
        addedIDs = table
        addedOrder = order
        let normalizer = normalizer
        let spelled = try tokens.map { token in
            guard token.isNormalized, let normalizer else { return token }
            var token = token
            let text = AlignedText(
                String(decoding: token.content, as: UTF8.self), tracksOrigins: false)
            token.spelling = try normalizer.normalize(text).bytes
            return token
        }
        added = Dictionary(spelled.map { ($0.id, $0) }, uniquingKeysWith: { $1 })
        rawMatcher = AddedTokenMatcher(spelled.filter { !$0.isNormalized })
        normalizedMatcher = AddedTokenMatcher(spelled.filter(\.isNormalized))
        vocabularySize = vocabulary.count + order.count { vocabulary.bytes($0) == nil }
        idLimit = max(vocabulary.idLimit, tokens.map { Int($0.id) + 1 }.max() ?? 0)
        special =
            try directory.map { folder in
                try SpecialTokens.read(folder) { name in
                    let bytes = Array(name.utf8)
                    return table.find(bytes).map { order[$0] } ?? vocabulary.id(bytes)
                }
            } ?? SpecialTokens()
    }

    // MARK: Looking up

    /// The id of a token as tokenizer.json spells it, or nil.
    package func id(of token: String) -> Int32? {
        let bytes = Array(token.utf8)
        return addedIDs.find(bytes).map { addedOrder[$0] } ?? model.vocabulary.id(bytes)
    }

    /// A token as decoders get it, or nil for an id that is not in use.
    ///
    /// An added token that is looked for after normalisation has its normalised spelling.
    package func token(_ id: Int32) -> String? {
        bytes(of: id).map { String(decoding: $0, as: UTF8.self) }
    }

    /// Whether decoding can leave this token out.
    package func isSpecial(_ id: Int32) -> Bool { added[id]?.isSpecial ?? false }

    /// The text that stands for a token in what users write: `</s>` for the id of `</s>`.
    package func text(of id: Int32) -> String? {
        added[id].map { String(decoding: $0.content, as: UTF8.self) } ?? token(id)
    }

    private func bytes(of id: Int32) -> [UInt8]? {
        added[id]?.spelling ?? model.vocabulary.bytes(id).map { Array($0) }
    }

    // MARK: Encoding

    /// The tokens of a text.
    ///
    /// - Parameter addSpecial: whether the post-processor adds its tokens (BOS and the like).
    /// - Throws: `KeelError` when a pattern gives up on the text, or the text is longer than 2 GiB.
    package func encode(_ text: String, addSpecial: Bool = true) throws -> Encoding {
        try finish([encodeOne(text, type: 0, wantsOffsets: true)], addSpecial)
    }

    /// The tokens of two texts; type ids tell them apart, offsets count in each text by itself.
    package func encode(_ text: String, pair: String, addSpecial: Bool = true) throws -> Encoding {
        try finish(
            [
                encodeOne(text, type: 0, wantsOffsets: true),
                encodeOne(pair, type: 1, wantsOffsets: true),
            ], addSpecial)
    }

    /// Only the ids of a text: the same as `encode(...).ids`, and faster.
    package func ids(_ text: String, addSpecial: Bool = true) throws -> [Int32] {
        try finish([encodeOne(text, type: 0, wantsOffsets: false)], addSpecial).ids
    }

    private func encodeOne(_ text: String, type: Int32, wantsOffsets: Bool) throws -> Encoding {
        guard text.utf8.count < Int(Int32.max) else {
            throw KeelError(
                "tokenizer", "a text of \(text.utf8.count) bytes is too long", code: .badData)
        }
        let given = AlignedText(text, tracksOrigins: wantsOffsets)
        var pieces = try extractAdded(given)
        try preTokenizer?.split(&pieces)
        var tokens = Tokens()
        pool.with { scratch in
            for piece in pieces.pieces {
                if let id = piece.token {
                    tokens.append(id, piece.range)
                } else {
                    model.tokenize(pieces.text.bytes, piece.range, scratch, into: &tokens)
                }
            }
        }
        var result = Encoding(ids: tokens.ids, typeIDs: Array(repeating: type, count: tokens.count))
        guard wantsOffsets else { return result }
        result.offsets = offsets(tokens, pieces.text, given)
        for (place, range) in tokens.ranges.enumerated() {
            guard let token = added[tokens.ids[place]], token.stripsLeft || token.stripsRight
            else { continue }
            result.found[place] = Array(pieces.text.bytes[range])
        }
        return result
    }

    /// Cuts the text at added tokens and normalises what lies between them.
    private func extractAdded(_ given: AlignedText) throws -> Pieces {
        var pieces = Pieces(given)
        if !rawMatcher.isEmpty { pieces.split { rawMatcher.split($0, $1, into: &$2) } }
        if let normalizer {
            try pieces.rewrite { text, piece, out in
                let part = try normalizer.normalize(text.slice(piece.range))
                out.append(part, 0..<part.count)
            }
        }
        if !normalizedMatcher.isEmpty {
            pieces.split { normalizedMatcher.split($0, $1, into: &$2) }
        }
        return pieces
    }

    /// The code points of the given text that each token comes from.
    private func offsets(
        _ tokens: Tokens, _ text: AlignedText, _ given: AlignedText
    ) -> [Range<Int>] {
        // Code points before each byte.
        var points = [Int32](repeating: 0, count: given.count + 1)
        var count: Int32 = 0
        for (i, byte) in given.bytes.enumerated() {
            points[i] = byte & 0xC0 == 0x80 ? count - 1 : count
            if byte & 0xC0 != 0x80 { count += 1 }
        }
        points[given.count] = count
        return tokens.ranges.map { range in
            guard !range.isEmpty else { return 0..<0 }
            let start = Int(points[Int(text.origin(range.lowerBound).start)])
            let end = Int(points[Int(text.origin(range.upperBound - 1).end)])
            return start..<max(start, end)
        }
    }

    private func finish(_ parts: [Encoding], _ addSpecial: Bool) throws -> Encoding {
        let processed =
            postProcessor?.process(
                parts, addSpecial: addSpecial, tokens: { self.bytes(of: $0) ?? [] }) ?? parts
        guard processed.count != 1 else { return processed[0] }
        return processed.reduce(into: Encoding()) { all, part in
            all.ids += part.ids
            all.offsets += part.offsets
            all.typeIDs += part.typeIDs
        }
    }

    // MARK: Decoding

    /// The text of token ids; ids that are not in use are left out, broken UTF-8 becomes U+FFFD.
    ///
    /// - Parameter skipSpecial: leaves special tokens out.
    /// - Throws: `KeelError` when a pattern of the decoder gives up.
    package func decode(_ ids: [Int32], skipSpecial: Bool) throws -> String {
        let tokens = ids.compactMap { skipSpecial && isSpecial($0) ? nil : bytes(of: $0) }
        guard let decoder else {
            return tokens.map { String(decoding: $0, as: UTF8.self) }.joined(separator: " ")
        }
        return String(decoding: Array(try decoder.decode(tokens).joined()), as: UTF8.self)
    }
}
