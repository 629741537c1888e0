import KeelCore

/// Rewrites text before it is cut into words.
package protocol Normalizer: Sendable {
    /// - Throws: `KeelError` when a pattern gives up.
    func normalize(_ text: AlignedText) throws -> AlignedText
}

/// Cuts text into words, and may rewrite them.
package protocol PreTokenizer: Sendable {
    func split(_ pieces: inout Pieces) throws
}

/// Turns one word into tokens.
package protocol TokenModel: Sendable {
    var vocabulary: Vocabulary { get }
    /// Appends the tokens of `bytes[range]`; never called with an empty range.
    func tokenize(
        _ bytes: [UInt8], _ range: Range<Int>, _ scratch: Scratch, into tokens: inout Tokens)
}

/// Adds special tokens and type ids to one text or a pair.
package protocol PostProcessor: Sendable {
    /// - Parameters:
    ///   - parts: the encoded texts, and what earlier processors made of them.
    ///   - tokens: the bytes of a token, for processors that look at its spaces.
    func process(_ parts: [Encoding], addSpecial: Bool, tokens: (Int32) -> [UInt8]) -> [Encoding]
}

/// Turns the bytes of tokens into text; the results of the last one are joined.
package protocol Decoder: Sendable {
    func decode(_ tokens: [[UInt8]]) throws -> [[UInt8]]
}

/// Every type that tokenizer.json may name: one line each.
package enum Components {
    package static let normalizers = Registry<any Normalizer>(
        kind: "normalizer",
        readers: [
            "BertNormalizer": BertNormalizer.init,
            "Lowercase": Lowercase.init,
            "NFC": { _ in UnicodeForm(.nfc) },
            "NFD": { _ in UnicodeForm(.nfd) },
            "NFKC": { _ in UnicodeForm(.nfkc) },
            "NFKD": { _ in UnicodeForm(.nfkd) },
            "Precompiled": Precompiled.init,
            "Prepend": Prepend.init,
            "Replace": Replace.init,
            "Sequence": NormalizerSequence.init,
            "Strip": Strip.init,
            "StripAccents": StripAccents.init,
        ])

    package static let preTokenizers = Registry<any PreTokenizer>(
        kind: "pre-tokenizer",
        readers: [
            "BertPreTokenizer": BertPreTokenizer.init,
            "ByteLevel": ByteLevel.init,
            "Digits": Digits.init,
            "Metaspace": Metaspace.init,
            "Sequence": PreTokenizerSequence.init,
            "Punctuation": CharacterSplit.punctuation,
            "Split": Split.init,
            "WhitespaceSplit": { _ in CharacterSplit.whitespace },
        ])

    package static let models = Registry<any TokenModel>(
        kind: "model",
        readers: [
            "BPE": BPE.init,
            "Unigram": Unigram.init,
            "WordPiece": WordPiece.init,
        ])

    package static let postProcessors = Registry<any PostProcessor>(
        kind: "post-processor",
        readers: [
            "BertProcessing": ClassSeparator.bert,
            "ByteLevel": ByteLevelTrim.init,
            "RobertaProcessing": ClassSeparator.roberta,
            "Sequence": PostProcessorSequence.init,
            "TemplateProcessing": TemplateProcessing.init,
        ])

    package static let decoders = Registry<any Decoder>(
        kind: "decoder",
        readers: [
            "ByteFallback": ByteFallbackDecoder.init,
            "ByteLevel": ByteLevelDecoder.init,
            "Fuse": FuseDecoder.init,
            "Metaspace": MetaspaceDecoder.init,
            "Replace": ReplaceDecoder.init,
            "Sequence": DecoderSequence.init,
            "Strip": StripDecoder.init,
            "WordPiece": WordPieceDecoder.init,
        ])
}
