import KeelCore
import KeelTestSupport
import KeelText
import Testing

@testable import KeelHost
@testable import KeelModel

@Suite struct StopStringsTests {
    static let names = ["llama2_style", "llama3_style", "unigram_t5_style", "bert_base_uncased"]
    static let text = "One, two, three.\n\nUser: \u{4F60}\u{597D}! aaab \u{1F600} the end of it"
    static let stops = [
        ["two"], ["wo, thr"], ["\n\n"], ["\nUser:"], ["\n"], ["e"], ["aab"], ["\u{597D}"],
        ["\u{1F600}"], ["nowhere"], ["end", "User"], ["the end", "end"], ["."], [" "],
        ["it", "of it"],
    ]

    private func tokenizer(_ name: String) throws -> Tokenizer {
        try Tokenizer.load(
            directory: Files.join(
                Files.parent(Files.parent(Files.parent(#filePath))), "Fixtures/tokenizers/\(name)"))
    }

    /// What the definition says: the first prefix of the ids whose text holds a stop string.
    private func expected(
        _ tokenizer: Tokenizer, _ ids: [Int32], _ stops: [String]
    ) throws -> (count: Int, text: String)? {
        for count in 1...ids.count {
            let text = Array(try tokenizer.decode(Array(ids[..<count]), skipSpecial: true).utf8)
            let places = stops.compactMap { stop -> Int? in
                let part = Array(stop.utf8)
                guard part.count <= text.count else { return nil }
                return (0...text.count - part.count).first { text[$0...].starts(with: part) }
            }
            if let first = places.min() {
                return (count, String(decoding: text[..<first], as: UTF8.self))
            }
        }
        return nil
    }

    @Test(arguments: names, stops)
    func aTextEndsBeforeTheFirstStop(name: String, stops: [String]) throws {
        let tokenizer = try tokenizer(name)
        let ids = try tokenizer.ids(StopStringsTests.text, addSpecial: false)
        var watch = StopStrings(stops, tokenizer).watch()
        var found: (count: Int, text: String)?
        for (i, id) in ids.enumerated() {
            guard let bytes = try watch.append(id) else { continue }
            let completion = Completion(
                rowID: 0, prompt: [], ids: Array(ids[...i]), logprobs: [], behaviourLogprobs: [],
                finishReason: .stop, textBytes: bytes)
            found = (i + 1, try StopStrings.text(of: completion, tokenizer))
            break
        }
        let want = try expected(tokenizer, ids, stops)
        #expect(found?.count == want?.count)
        #expect(found?.text == want?.text)
        // Some of the cases are none for a tokenizer that changes the text.
        if name == "llama3_style" { #expect((want == nil) == (stops == ["nowhere"])) }
    }

    /// A stop string may begin inside a token and reach over several.
    @Test func bytesOfATokenMayStayOrGo() throws {
        let tokenizer = try tokenizer("llama3_style")
        let ids = try tokenizer.ids("wonderful things happen", addSpecial: false)
        var watch = StopStrings(["derful thin"], tokenizer).watch()
        let cuts = try ids.map { try watch.append($0) }
        #expect(cuts.compactMap { $0 }.first == 3)
    }

    /// Special tokens have no text: a stop string that spells one means the token.
    @Test func aSpecialTokenCanBeAStop() throws {
        let tokenizer = try tokenizer("llama3_style")
        let special = try #require(
            (0..<Int32(tokenizer.idLimit)).first { tokenizer.isSpecial($0) })
        let name = try #require(tokenizer.text(of: special))
        let ids = try tokenizer.ids("so it is", addSpecial: false) + [special]
        var watch = StopStrings([name], tokenizer).watch()
        let cuts = try ids.map { try watch.append($0) }
        #expect(cuts.dropLast().allSatisfy { $0 == nil })
        #expect(cuts.last == 8)
    }

    @Test func whatCouldBecomeAStopIsHeldBack() throws {
        let stops = StopStrings(["\nUser:", "END"], try tokenizer("llama3_style"))
        func held(_ text: String) -> Int { stops.openCount(Array(text.utf8)) }
        #expect(held("text") == 0)
        #expect(held("text\n") == 1)
        #expect(held("text\nUse") == 4)
        #expect(held("EN") == 2)
        #expect(held("E") == 1)
        #expect(held("ENE") == 1)
        #expect(held("\nUsed") == 0)
        #expect(StopStrings(["", "a"], try tokenizer("llama3_style")).isEmpty == false)
        #expect(StopStrings([""], try tokenizer("llama3_style")).isEmpty)
    }
}
