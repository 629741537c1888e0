import Glibc
import KeelCore
import KeelTensor
import KeelTestSupport
import Testing

@testable import KeelModel

@Suite struct GeneratorTests {
    static let families = ["llama", "gpt2"]
    static let prompts: [[Int32]] = [
        [3, 1, 4], [1], [5, 9, 2, 6, 5, 3, 5], [8, 9], [7, 9, 3, 2, 3],
    ]

    private func requests(_ prompts: [[Int32]] = prompts, copies: Int = 1) -> [GenerationRequest] {
        prompts.enumerated().flatMap { i, prompt in
            (0..<copies).map { GenerationRequest(prompt: prompt, rowID: UInt64(10 * i + $0)) }
        }
    }

    private func run(
        _ model: Model, _ requests: [GenerationRequest], tokens: Int = 12, batch: Int = 32,
        eos: [Int32] = [],
        temperature: Double = 1, seed: UInt64 = 1, sampler: (any TokenSampling)? = nil
    ) throws -> [Completion] {
        var settings = GenerationSettings(maxNewTokens: tokens, eosIDs: eos)
        settings.batchSize = batch
        settings.temperature = temperature
        settings.seed = seed
        return try KeelModel.Generator(model, settings, sampler: sampler).run(requests).compactMap {
            $0
        }
    }

    /// What was recorded while sampling is what a training pass computes.
    @Test(arguments: families, [DType.f32, .bf16])
    func recordedLogprobsEqualRecomputedOnes(family: String, dtype: DType) throws {
        let model = try tinyModel(family, dtype: dtype)
        let bar = Tolerance(relative: 0, absolute: dtype == .f32 ? 1e-5 : 1e-3)
        for temperature in [1, 0.7] {
            for done in try run(model, requests(), temperature: temperature) {
                let scores = try model.logprobs(
                    PackedBatch(
                        sequences: [done.prompt + done.ids], promptLengths: [done.prompt.count]),
                    tape: Tape(recording: false), temperature: temperature)
                expectClose(
                    done.logprobs.map(Double.init), scores.logprobs.doubles(), bar,
                    "\(family) \(dtype)")
                #expect(done.logprobs == done.behaviourLogprobs)
            }
        }
    }

    /// With the cache, token by token, the same tokens as from scratch.
    @Test(arguments: families)
    func theCacheChangesNothing(family: String) throws {
        let model = try tinyModel(family)
        for done in try run(model, requests(), sampler: ArgmaxSampling()) {
            var ids = done.prompt
            for id in done.ids {
                let logits = try model.logits(
                    PackedBatch(sequences: [ids], promptLengths: [1]), rows: [Int32(ids.count - 1)]
                ).floats()
                #expect(logits[Int(id)] == logits.max())
                ids.append(id)
            }
        }
    }

    /// A row's text depends on its prompt, id and seed, on nothing beside it.
    @Test(arguments: families, [1, 2, 3, 32])
    func neighboursChangeNothing(family: String, batch: Int) throws {
        let model = try tinyModel(family)
        let all = try run(model, requests(copies: 3), batch: batch, eos: [2, 5])
        for (request, done) in zip(requests(copies: 3), all) {
            let alone = try run(model, [request], eos: [2, 5])[0]
            #expect(alone.ids == done.ids)
            #expect(alone.logprobs == done.logprobs)
        }
    }

    @Test func copiesOfAPromptDifferAndSeedsDiffer() throws {
        let model = try tinyModel("llama")
        let texts = try run(model, requests([[3, 1, 4]], copies: 6)).map(\.ids)
        #expect(Set(texts).count > 3)
        #expect(try run(model, requests([[3, 1, 4]], copies: 6), seed: 2).map(\.ids) != texts)
        #expect(try run(model, requests([[3, 1, 4]], copies: 6)).map(\.ids) == texts)
    }

    @Test func anEndIDEndsTheTextAndBelongsToIt() throws {
        let model = try tinyModel("llama")
        let free = try run(model, requests(), sampler: ArgmaxSampling())
        let end = free[0].ids[3]
        for (a, b) in zip(
            free, try run(model, requests(), eos: [end, 99], sampler: ArgmaxSampling()))
        {
            let length = a.ids.firstIndex(of: end).map { $0 + 1 } ?? a.ids.count
            #expect(b.ids == Array(a.ids[..<length]))
            #expect(b.finishReason == (a.ids.contains(end) ? .eos : .length))
            #expect(b.logprobs.count == length && b.behaviourLogprobs.count == length)
        }
    }

    @Test(arguments: families)
    func theContextEndsATextToo(family: String) throws {
        let model = try tinyModel(family)
        let prompts = [[Int32](repeating: 1, count: 20), [Int32](repeating: 2, count: 23)]
        let done = try run(model, requests(prompts), tokens: 100)
        #expect(done.map(\.ids.count) == [4, 1])
        #expect(done.allSatisfy { $0.finishReason == .length })
    }

    @Test func promptsThatDoNotFitAreRefused() throws {
        let model = try tinyModel("gpt2")
        for prompt in [[], [Int32](repeating: 1, count: 24), [23]] as [[Int32]] {
            #expect(throws: KeelError.self) { _ = try run(model, requests([[1, 2], prompt])) }
        }
    }

    /// Draws follow the model's distribution (chi-squared).
    @Test func drawsFollowTheDistribution() throws {
        let model = try tinyModel("llama", changes: ["initializer_range": 0.15])
        let prompt: [Int32] = [3, 1, 4]
        let count = 4000
        let rows = (0..<count).map { GenerationRequest(prompt: prompt, rowID: UInt64($0)) }
        let done = try run(model, rows, tokens: 1, batch: 500)
        let logits = try model.logits(
            PackedBatch(sequences: [prompt], promptLengths: [1]), rows: [2]
        ).doubles()
        let top = logits.max() ?? 0
        let total = logits.reduce(0) { $0 + exp($1 - top) }
        var seen = [Double](repeating: 0, count: logits.count)
        for text in done { seen[Int(text.ids[0])] += 1 }
        var chi = 0.0
        for (logit, n) in zip(logits, seen) {
            let expected = Double(count) * exp(logit - top) / total
            chi += (n - expected) * (n - expected) / expected
        }
        // 22 degrees of freedom: above 48.3 once in a thousand; the seed is fixed.
        #expect(chi < 48.3, "chi-squared \(chi)")
    }

    /// Bans a token, remembers in its bytes how often it was asked.
    private final class Banning: TokenSampling {
        let banned: Int
        var asked: [UInt64: [Int]] = [:]
        init(_ banned: Int) { self.banned = banned }

        func sample(_ step: inout SamplingStep) throws -> [Int32] {
            for row in 0..<step.rows {
                step.logits[row * step.vocabulary + banned] = -.infinity
                step.states[row].append(1)
                #expect(
                    step.states[row].count == step.contexts[row].count - step.promptLengths[row] + 1
                )
                asked[step.rowIDs[row], default: []].append(step.contexts[row].count)
            }
            return [Int32](repeating: -1, count: step.rows)
        }
    }

    @Test func editedLogitsDecideAndAreRecordedBesideTheModelsOwn() throws {
        let model = try tinyModel("llama")
        let free = try run(model, requests())
        let banned = Int(free[0].ids[2])
        let sampler = Banning(banned)
        let done = try run(model, requests(), batch: 2, sampler: sampler)
        for text in done {
            #expect(!text.ids.contains(Int32(banned)))
            // Less is left to draw from, so what is drawn is likelier.
            #expect(zip(text.logprobs, text.behaviourLogprobs).allSatisfy { $0 < $1 })
            #expect(
                sampler.asked[text.rowID]
                    == Array(text.prompt.count..<text.prompt.count + text.ids.count))
        }
    }

    private final class Returning: TokenSampling {
        let token: Int32
        let edit: Float?
        init(_ token: Int32, edit: Float? = nil) { (self.token, self.edit) = (token, edit) }
        func sample(_ step: inout SamplingStep) throws -> [Int32] {
            if let edit { step.logits = step.logits.map { _ in edit } }
            return [Int32](repeating: token, count: step.rows)
        }
    }

    @Test(arguments: [(23, nil), (-2, nil), (-1, -.infinity), (-1, .nan)] as [(Int32, Float?)])
    func whatASamplerMayNotDoEndsTheRun(token: Int32, edit: Float?) throws {
        let model = try tinyModel("llama")
        #expect(throws: KeelError.self) {
            _ = try run(model, requests(), sampler: Returning(token, edit: edit))
        }
    }

    @Test func aRunCanBeEndedEarly() throws {
        let model = try tinyModel("llama")
        var steps = 0
        let done = try KeelModel.Generator(model, GenerationSettings(maxNewTokens: 12, eosIDs: []))
            .run(
                requests(),
                shouldContinue: {
                    steps += 1
                    return steps <= 5
                })
        #expect(done.allSatisfy { $0 == nil })
    }

    // MARK: What ends a text

    /// Ends texts at a sum of ids.
    private final class Summing: TextEnding {
        struct Watch: TextWatch {
            var sum = 0
            mutating func append(_ id: Int32) throws -> Int? {
                sum += Int(id)
                return sum >= 30 ? sum : nil
            }
        }
        func watch() -> any TextWatch { Watch() }
    }

    @Test(arguments: [1, 32], [0, 6])
    func whatATextSaysCanEndIt(batch: Int, least: Int) throws {
        let model = try tinyModel("llama")
        let free = try run(model, requests())
        var settings = GenerationSettings(maxNewTokens: 12, eosIDs: [])
        settings.batchSize = batch
        settings.seed = 1
        settings.minNewTokens = least
        let done = try KeelModel.Generator(model, settings, ending: Summing()).run(requests())
            .compactMap { $0 }
        for (a, b) in zip(free, done) {
            var sum = 0
            let length = a.ids.enumerated().first { i, id in
                sum += Int(id)
                return sum >= 30 && i + 1 >= least
            }.map { $0.offset + 1 }
            #expect(b.ids == Array(a.ids[..<(length ?? a.ids.count)]))
            #expect(b.finishReason == (length == nil ? .length : .stop))
            #expect(b.textBytes == (length == nil ? nil : sum))
        }
    }

    /// Before the least number of tokens the end is not drawn, and the record says so.
    @Test func anEndThatIsTooEarlyIsNotDrawn() throws {
        let model = try tinyModel("llama")
        let ends: [Int32] = [2, 5, 7, 9, 11, 13]
        let early = try run(model, requests(copies: 4), eos: ends)
        #expect(early.contains { $0.ids.count < 5 })
        var settings = GenerationSettings(maxNewTokens: 12, eosIDs: ends)
        settings.minNewTokens = 5
        settings.seed = 1
        for sampler in [nil, ArgmaxSampling()] {
            let done = try KeelModel.Generator(model, settings, sampler: sampler)
                .run(requests(copies: 4)).compactMap { $0 }
            #expect(done.contains { $0.finishReason == .eos })
            for text in done {
                #expect(text.ids.count >= 5)
                #expect(!text.ids.prefix(5).contains { ends.contains($0) })
                for (i, (own, drawn)) in zip(text.logprobs, text.behaviourLogprobs).enumerated() {
                    #expect(i < 5 ? own < drawn : own == drawn)
                }
            }
        }
    }

    @Test func tokensAreToldAsTheyAreDrawn() throws {
        let model = try tinyModel("llama")
        var told = [[Int32]](repeating: [], count: 5)
        let done = try KeelModel.Generator(model, GenerationSettings(maxNewTokens: 7, eosIDs: [3]))
            .run(requests(), drawn: { told[$0].append($1) })
        #expect(done.map { $0?.ids.dropLast() } == told.map { $0[...] })
    }
}
