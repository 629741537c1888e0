import KeelCore
import Synchronization

@testable import KeelText

enum Fixture {
    static let folder = Files.join(Files.parent(Files.parent(#filePath)), "Fixtures/tokenizers")
    static let llama2 = Files.join(folder, "llama2_style")
    static let llama3 = Files.join(folder, "llama3_style")
}

/// A tokenizer whose whole description is in the test.
func tokenizer(_ json: JSON) throws -> Tokenizer {
    let bytes = Array(json.text().utf8)
    return try bytes.withUnsafeBytes { try Tokenizer(json: $0, name: "tokenizer.json") }
}

func part(_ json: JSON) -> Part { Part(json, file: "tokenizer.json", path: "x") }

/// Text after a normalizer, with the origins of its bytes.
func normalized(
    _ normalizer: any Normalizer, _ text: String
) throws -> (text: String, origins: [[Int32]]) {
    let out = try normalizer.normalize(AlignedText(text, tracksOrigins: true))
    return (String(decoding: out.bytes, as: UTF8.self), out.origins.map { [$0.start, $0.end] })
}

/// The words that a pre-tokenizer makes of a text.
func words(_ preTokenizer: any PreTokenizer, _ text: String) throws -> [String] {
    var pieces = Pieces(AlignedText(text, tracksOrigins: true))
    try preTokenizer.split(&pieces)
    return pieces.pieces.map { String(decoding: pieces.text.bytes[$0.range], as: UTF8.self) }
}

/// What a decoder makes of tokens.
func decoded(_ decoder: any Decoder, _ tokens: [String]) throws -> [String] {
    try decoder.decode(tokens.map { Array($0.utf8) }).map { String(decoding: $0, as: UTF8.self) }
}

/// A small BPE: a, b, c, ab, abc; with more keys of the model on request.
func smallModel(_ more: JSONObject = [:]) -> JSON {
    var model: JSONObject = [
        "type": "BPE", "vocab": ["a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4],
        "merges": ["a b", "ab c"],
    ]
    for (key, value) in more { model[key] = value }
    return .object(model)
}

/// A lock for what tests collect from threads.
final class ThreadLock: Sendable {
    private let mutex = Mutex(())
    func with(_ body: () -> Void) { mutex.withLock { _ in body() } }
}
