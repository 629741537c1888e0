import KeelCore
import KeelTensor
import KeelTestSupport
import Testing

@testable import KeelModel

/// The promises of docs/generation.md, for every family and its stored weights.
@Suite struct FamilyGenerationTests {
    private func load(_ name: String) throws -> (Model, [GenerationRequest]) {
        let model = try Model.load(
            directory: Fixture.model(name), dtype: .f32, device: testDevice)
        let vectors = try Fixture.json("models/\(name)/vectors.json")
        let texts = (vectors["sequences"]?.array ?? []).compactMap { $0["input_ids"]?.ids }
        // 32 rows: prompts of all lengths, most of them twice.
        let requests = (0..<32).map { i in
            let text = texts[i % 16 % texts.count]
            let most = min(text.count, model.contextLength - 24)
            return GenerationRequest(
                prompt: Array(text.prefix(1 + (5 * i) % most)), rowID: UInt64(i))
        }
        return (model, requests)
    }

    private func run(
        _ model: Model, _ requests: [GenerationRequest], cacheTokens: Int? = nil
    ) throws -> ([UInt64: Completion], GenerationStatistics) {
        var settings = GenerationSettings(maxNewTokens: 20, eosIDs: [])
        settings.seed = 11
        settings.cacheTokens = cacheTokens
        settings.cacheBlockSize = cacheTokens == nil ? 16 : 3
        let generator = KeelModel.Generator(model, settings)
        let done = try generator.run(requests).compactMap { $0 }
        return (
            Dictionary(done.map { ($0.rowID, $0) }, uniquingKeysWith: { $1 }), generator.statistics
        )
    }

    /// Alone, in a batch of 32, in another order, with too little room, after a restart: the same bits.
    @Test(arguments: VectorTests.names)
    func aRowsTextIsItsOwn(name: String) throws {
        let (model, requests) = try load(name)
        let (batch, spent) = try run(model, requests)
        // The pass over the prompts draws the first token of each.
        let prompts = Set(requests.map(\.prompt))
        #expect(spent.continuing.tokens == 32 * 19)
        #expect(spent.reading.tokens == prompts.reduce(0) { $0 + $1.count })
        #expect(spent.continuing.cpu > 0 && spent.line.hasPrefix("continued: 608 tokens in "))
        #expect(batch.count == 32 && Set(batch.values.map(\.ids)).count > 16)
        let (other, _) = try run(model, requests.reversed())
        let (tight, statistics) = try run(model, requests, cacheTokens: 150)
        #expect(statistics.preemptions > 0)
        let (again, _) = try run(try load(name).0, requests)
        for request in requests {
            let want = try #require(batch[request.rowID])
            var got = [other, tight, again].compactMap { $0[request.rowID] }
            if request.rowID % 5 == 0 {
                got += try run(model, [request]).0.values
            }
            #expect(got.allSatisfy { $0.ids == want.ids && $0.logprobs == want.logprobs })
        }
    }

    /// What decoding with the cache recorded is what the whole sequence gives at once, as training computes it.
    @Test(arguments: VectorTests.names)
    func theCacheEqualsTheWholeSequence(name: String) throws {
        let (model, requests) = try load(name)
        let (done, _) = try run(model, Array(requests.prefix(16)))
        var longest = 0
        for text in done.values {
            let scores = try model.logprobs(
                PackedBatch(
                    sequences: [text.prompt + text.ids], promptLengths: [text.prompt.count]),
                tape: Tape(recording: false))
            longest = max(longest, text.prompt.count + text.ids.count)
            expectClose(
                text.logprobs.map(Double.init), scores.logprobs.doubles(),
                Tolerance(relative: 0, absolute: 1e-5), name)
        }
        // Where a window forgets, there is something to forget.
        let windows = model.architecture.blocks.compactMap(\.attention.window)
        if let window = windows.min() {
            #expect(longest > window, "\(longest) tokens, window \(window)")
        }
    }
}
