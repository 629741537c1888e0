import KeelCore
import Testing

@testable import KeelText

/// Whole tokenizers against what the `tokenizers` library gives, without tolerance.
struct FixtureTests {
    /// Folders in the repository, and beside it where they are present.
    static let folders: [String] = {
        let here = Files.parent(Files.parent(#filePath))
        let own = Files.join(here, "Fixtures/tokenizers")
        let beside = Files.join(Files.parent(here), "../shared/fixtures/tokenizers")
        return [own, beside].flatMap { folder in
            ((try? Files.list(folder)) ?? []).sorted().map { Files.join(folder, $0) }
        }.filter { Files.exists(Files.join($0, "vectors.json")) }
    }()

    @Test func thereAreFixturesOfEveryKind() { #expect(FixtureTests.folders.count >= 10) }

    @Test(arguments: folders)
    func encodesAndDecodesLikeTheLibrary(_ folder: String) throws {
        let tokenizer = try Tokenizer.load(directory: folder)
        let path = Files.join(folder, "vectors.json")
        let vectors = try JSON.parse(try Files.read(path), name: path)
        var failures: [String] = []
        func compare<T: Equatable>(_ what: String, _ got: T, _ want: T) {
            if got != want { failures.append("\(what): got \(got), expected \(want)") }
        }
        for (i, c) in (vectors["cases"]?.array ?? []).enumerated() {
            let text = try #require(c["text"]?.string)
            let ids = try #require(numbers(c["ids"]))
            let plain = numbers(c["ids_no_special"]) ?? ids
            let got = try tokenizer.encode(text)
            compare("case \(i) ids of \(text.debugDescription.prefix(80))", got.ids, ids)
            compare("case \(i) fast ids", try tokenizer.ids(text), ids)
            compare("case \(i) plain ids", try tokenizer.encode(text, addSpecial: false).ids, plain)
            if let offsets = c["offsets"]?.array {
                let want = offsets.compactMap { pair -> Range<Int>? in
                    guard let start = pair[0]?.int, let end = pair[1]?.int else { return nil }
                    return start..<end
                }
                compare(
                    "case \(i) offsets of \(text.debugDescription.prefix(80))", got.offsets, want)
            }
            let skipped = try #require(c["decode"]?.string)
            let kept = c["decode_keep"]?.string ?? skipped
            compare(
                "case \(i) decode", scalars(try tokenizer.decode(ids, skipSpecial: true)),
                scalars(skipped))
            compare(
                "case \(i) decode all", scalars(try tokenizer.decode(ids, skipSpecial: false)),
                scalars(kept))
        }
        for (i, c) in (vectors["decode_cases"]?.array ?? []).enumerated() {
            let ids = try #require(numbers(c["ids"]))
            let skipped = try #require(c["decode"]?.string)
            let kept = c["decode_keep"]?.string ?? skipped
            compare(
                "decode case \(i)", scalars(try tokenizer.decode(ids, skipSpecial: true)),
                scalars(skipped))
            compare(
                "decode case \(i), all", scalars(try tokenizer.decode(ids, skipSpecial: false)),
                scalars(kept))
            if let tokens = c["tokens"]?.array?.compactMap(\.string) {
                compare("decode case \(i) tokens", ids.map { tokenizer.token($0) ?? "" }, tokens)
            }
        }
        for (i, c) in (vectors["pair_cases"]?.array ?? []).enumerated() {
            let got = try tokenizer.encode(
                try #require(c["a"]?.string), pair: try #require(c["b"]?.string))
            compare("pair case \(i) ids", got.ids, try #require(numbers(c["ids"])))
            compare("pair case \(i) type ids", got.typeIDs, try #require(numbers(c["type_ids"])))
        }
        for (i, c) in (vectors["chat_cases"]?.array ?? []).enumerated() {
            let template = try #require(
                try ChatTemplate.load(directory: folder, tokenizer: tokenizer))
            let messages = try #require(c["messages"])
            let prompt = c["add_generation_prompt"]?.bool ?? false
            guard c["error"]?.bool != true else {
                #expect(throws: KeelError.self) {
                    _ = try template.render(messages, addGenerationPrompt: prompt)
                }
                continue
            }
            let got = try template.render(messages, addGenerationPrompt: prompt)
            compare("chat case \(i) text", scalars(got.text), scalars(c["text"]?.string ?? ""))
            let encoding = try tokenizer.encode(got.text, addSpecial: false)
            compare("chat case \(i) ids", encoding.ids, try #require(numbers(c["ids"])))
            if let mask = numbers(c["assistant_mask"]) {
                let own = encoding.mask(of: got.marked, in: got.text).map { $0 ? Int32(1) : 0 }
                compare("chat case \(i) mask", own, mask)
            }
        }
        if let size = vectors["vocab_size_with_added"]?.int {
            compare("vocabulary", tokenizer.vocabularySize, size)
        }
        #expect(
            failures.isEmpty,
            "\(failures.count) failures, first: \(failures.prefix(12).joined(separator: "\n"))")
    }

    private func numbers(_ json: JSON?) -> [Int32]? {
        json?.array?.compactMap { $0.int.map { Int32($0) } }
    }

    /// Strings by their code points: Swift's own comparison would take composed and decomposed for equal.
    private func scalars(_ text: String) -> [UInt32] { text.unicodeScalars.map(\.value) }
}
