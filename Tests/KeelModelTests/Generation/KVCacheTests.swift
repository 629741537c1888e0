import KeelCore
import KeelTensor
import KeelTestSupport
import Testing

@testable import KeelModel

@Suite struct KVCacheTests {
    private func cache(_ limit: Int, blockSize: Int = 4) throws -> KVCache {
        KVCache(
            try tinyModel("llama").architecture, blockSize: blockSize, limit: limit, dtype: .f32,
            device: testDevice)
    }

    @Test func blocksComeAndGo() throws {
        let cache = try cache(3)
        var (a, b) = (BlockTable(), BlockTable())
        #expect(cache.extend(&a, to: 0) && a.ranges.isEmpty)
        #expect(cache.extend(&a, to: 1))
        #expect(cache.extend(&a, to: 4))
        #expect(cache.used == 1)
        #expect(cache.extend(&b, to: 5))
        #expect(cache.freeBlocks == 0)
        // All or nothing.
        #expect(!cache.extend(&a, to: 5))
        #expect(a.ranges == [0..<4])
        cache.give(&b)
        #expect(cache.freeBlocks == 2 && b.blocks.isEmpty)
        #expect(cache.extend(&a, to: 12))
        #expect(a.ranges == [0..<12], "blocks side by side are one range")
        #expect(cache.peak == 3)
    }

    @Test func theRowsOfSomeTokens() {
        var table = BlockTable()
        for block in [3, 4, 0, 7] { table.add(block, 4) }
        #expect(table.ranges == [12..<20, 0..<4, 28..<32])
        #expect(table.rows(0..<3) == [12..<15])
        #expect(table.rows(5..<9) == [17..<20, 0..<1])
        #expect(table.rows(11..<14) == [3..<4, 28..<30])
        #expect(table.rows(8..<8).isEmpty)
    }

    /// Memory is claimed as blocks are first used; what is stored stays when it grows.
    @Test func memoryGrowsWithUse() throws {
        let cache = try cache(1000)
        #expect(cache.claimed == 0)
        var table = BlockTable()
        #expect(cache.extend(&table, to: 4))
        #expect(cache.claimed == 1)
        let width = cache.bytesPerToken / 2 / 2 / 4
        let row = Tensor(
            (0..<width).map { Float($0) }, shape: [1, width], dtype: .f32, device: testDevice)
        let step = KVCache.Step(cache: cache, writes: [(0..<1, 2)])
        _ = step.store(row, row, layer: 1)
        #expect(cache.extend(&table, to: 400))
        #expect(cache.claimed == 100)
        let after = KVCache.Step(cache: cache, writes: []).store(row, row, layer: 1)
        #expect(after.k.rowsView(2, 1).floats() == row.floats())
        #expect(after.v.rowsView(2, 1).floats() == row.floats())
        #expect(cache.extend(&table, to: 404))
        #expect(cache.claimed == 150, "half as many again, so that growing stays cheap")
    }
}

/// Whether it is the room that decides who runs.
@Suite struct RosterTests {
    static let prompts: [[Int32]] = [
        [3, 1, 4], [1], [5, 9, 2, 6, 5, 3, 5], [8, 9], [7, 9, 3, 2, 3],
    ]

    private func run(
        _ model: Model, cacheTokens: Int?, blockSize: Int, eos: [Int32] = [2],
        sampler: (any TokenSampling)? = nil
    ) throws -> ([Completion], GenerationStatistics) {
        var settings = GenerationSettings(maxNewTokens: 14, eosIDs: eos)
        settings.seed = 4
        settings.cacheTokens = cacheTokens
        settings.cacheBlockSize = blockSize
        let generator = KeelModel.Generator(model, settings, sampler: sampler)
        let requests = RosterTests.prompts.enumerated().flatMap { i, prompt in
            (0..<3).map { GenerationRequest(prompt: prompt, rowID: UInt64(10 * i + $0)) }
        }
        return (try generator.run(requests).compactMap { $0 }, generator.statistics)
    }

    /// Sequences that had to wait, and were computed again, say what they would have said.
    @Test(arguments: ["llama", "gpt2"], [DType.f32, .bf16])
    func waitingChangesNothing(family: String, dtype: DType) throws {
        let model = try tinyModel(family, dtype: dtype)
        let (free, freely) = try run(model, cacheTokens: nil, blockSize: 16)
        #expect(freely.preemptions == 0 && freely.repeatedRows == 0)
        for (tokens, blockSize) in [(24, 1), (40, 1), (40, 3), (64, 4), (32, 16)] {
            let (tight, statistics) = try run(model, cacheTokens: tokens, blockSize: blockSize)
            #expect(
                tight.map(\.ids) == free.map(\.ids), "\(tokens) tokens in blocks of \(blockSize)")
            #expect(tight.map(\.logprobs) == free.map(\.logprobs))
            #expect(statistics.peakCacheBytes < freely.peakCacheBytes)
            if tokens == 40 { #expect(statistics.preemptions > 0 && statistics.repeatedRows > 0) }
        }
    }

    /// What a sampler keeps for a sequence waits with it.
    @Test func aWaitingSequenceKeepsTheSamplersBytes() throws {
        final class Counting: TokenSampling {
            func sample(_ step: inout SamplingStep) throws -> [Int32] {
                for row in 0..<step.rows {
                    step.states[row].append(0)
                    let drawn = step.contexts[row].count - step.promptLengths[row]
                    #expect(step.states[row].count == drawn + 1)
                }
                return [Int32](repeating: -1, count: step.rows)
            }
        }
        let (_, statistics) = try run(
            try tinyModel("llama"), cacheTokens: 40, blockSize: 1, sampler: Counting())
        #expect(statistics.preemptions > 0)
    }

    /// Texts that end early never claim what they might have needed.
    @Test func memoryFollowsWhatIsSaid() throws {
        let model = try tinyModel("llama", changes: ["max_position_embeddings": 4096])
        var settings = GenerationSettings(maxNewTokens: 3000, eosIDs: Array(0..<11))
        settings.cacheBlockSize = 4
        let generator = KeelModel.Generator(model, settings)
        let done = try generator.run([GenerationRequest(prompt: [1, 2, 3], rowID: 0)])
        let said = try #require(done[0]).ids.count
        #expect(said < 60)
        let perToken = 2 * 2 * 2 * 6 * 4  // k and v, layers, heads, cells, bytes
        #expect(generator.statistics.peakCacheBytes <= (4 + (said + 2) / 4 * 4) * perToken)
    }

    @Test func aTextThatCanNeverFitIsRefused() throws {
        let model = try tinyModel("llama")
        let error = #expect(throws: KeelError.self) {
            _ = try run(model, cacheTokens: 20, blockSize: 4)
        }
        #expect(
            error?.what
                == "a prompt and its completion may need 24 tokens of the cache, which holds 20")
    }
}
