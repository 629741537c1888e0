import Glibc
import KeelCore
import KeelTensor
import KeelTestSupport
import Testing

@Suite struct DeviceTests {
    @Test func aSecondStepAsksTheSystemForNothing() {
        let device = Device.cpu(threads: 1)
        func step() {
            let random = Generator("step")
            let x = random.tensor([64, 32], dtype: .f32, device)
            let tape = Tape()
            let w = tape.leaf(random.tensor([48, 32], dtype: .f32, device))
            let y = NN.silu(NN.linear(x, weight: w))
            tape.backward([(y, y.detach())])
        }
        step()
        let calls = device.memory.systemCalls
        let used = device.memory.used
        for _ in 0..<5 { step() }
        #expect(device.memory.systemCalls == calls)
        #expect(device.memory.used == used)
        #expect(device.memory.peak > used)
        device.trim()
        #expect(device.memory.reserved <= device.memory.peak)
    }

    @Test func freedMemoryIsReused() {
        let device = Device.cpu(threads: 1)
        for size in [1, 16, 100, 1025, 5000, 123_457] {
            do { _ = Tensor(zeros: [size], dtype: .f32, device: device) }
            let before = device.memory.systemCalls
            do { _ = Tensor(zeros: [size], dtype: .f32, device: device) }
            #expect(device.memory.systemCalls == before)
        }
        #expect(device.memory.used == 0)
    }

    /// Batches of ever new sizes must not leave ever more memory behind.
    @Test func whatIsKeptIsBounded() {
        let device = Device.cpu(threads: 1)
        for size in stride(from: 1 << 20, to: 48 << 20, by: 1 << 19) {
            _ = Tensor(zeros: [size / 4], dtype: .f32, device: device)
        }
        let (used, peak, reserved, _) = device.memory
        #expect(used == 0)
        // All the sizes together are 2.3 GB; the largest alone is 48 MB, and the others fit where it was.
        #expect(reserved <= peak + 64)
    }

    /// Blocks of random sizes and lives: no two overlap, none moves, and freed neighbours join again.
    @Test(arguments: [UInt64(1), 2, 3])
    func blocksNeverOverlap(seed: UInt64) {
        let device = Device.cpu(threads: 1)
        let random = RandomStream(seed: seed, place: "blocks")
        var live: [(tensor: Tensor, value: Float)] = []
        for step in 0..<600 as Range<UInt64> {
            if random.below(5, 3 * step) < 2, !live.isEmpty {
                let gone = live.remove(at: Int(random.below(UInt64(live.count), 3 * step + 1)))
                #expect(gone.tensor.floats().allSatisfy { $0 == gone.value })
            } else {
                // From one cell to 4 MB, small ones most often.
                let bits = random.below(20, 3 * step + 1)
                let count = 1 + Int(random.below(1 << bits, 3 * step + 2))
                let value = Float(step)
                live.append(
                    (
                        Tensor(
                            filled: Double(value), shape: [count], dtype: .f32, device: device),
                        value
                    ))
            }
        }
        for block in live {
            #expect(block.tensor.floats().allSatisfy { $0 == block.value })
        }
        live = []
        #expect(device.memory.used == 0)
        // One hole again: the largest block fits without asking for more.
        let (_, peak, _, calls) = device.memory
        do { _ = Tensor(zeros: [peak / 8], dtype: .f32, device: device) }
        #expect(device.memory.systemCalls == calls)
        device.trim()
        #expect(device.memory.reserved == 0)
    }

    /// What holes keep goes back before more than the peak is held, and no more of it than that takes.
    @Test func holesAreGivenBack() {
        let device = Device.cpu(threads: 1)
        let size = 2 << 20
        // Every second block is freed: none of the holes takes a block of three.
        var blocks: [Tensor?] = (0..<64).map { _ in
            Tensor(zeros: [size / 4], dtype: .f32, device: device)
        }
        for i in stride(from: 0, to: 64, by: 2) { blocks[i] = nil }
        let more = (0..<10).map { _ in Tensor(zeros: [3 * size / 4], dtype: .f32, device: device) }
        withExtendedLifetime((blocks, more)) {
            let (used, peak, reserved, _) = device.memory
            #expect(used == (32 + 30) * size && peak == 64 * size)
            #expect(reserved <= peak + 32 << 20 && reserved > peak + 31 << 20)
            #expect(blocks.compactMap { $0 }.allSatisfy { $0.floats().allSatisfy { $0 == 0 } })
        }
    }

    /// Zeros come from pages that nobody has written to where there are such; blocks that were in use, went back to
    /// the system or share a page with another are zero all the same.
    @Test(arguments: [UInt64(1), 2, 3])
    func zerosAreZeros(seed: UInt64) {
        let device = Device.cpu(threads: 1)
        let random = RandomStream(seed: seed, place: "zeros")
        var live: [Tensor] = []
        for step in 0..<400 as Range<UInt64> {
            switch random.below(8, 4 * step) {
            case 0...2 where !live.isEmpty:
                live.remove(at: Int(random.below(UInt64(live.count), 4 * step + 1)))
            case 3: device.trim()
            default:
                // From one cell to 1 MB, most often no whole number of pages.
                let count = 1 + Int(random.below(1 << random.below(19, 4 * step + 2), 4 * step + 3))
                let zeros = Tensor(zeros: [count], dtype: .f32, device: device)
                #expect(zeros.floats().allSatisfy { $0.bitPattern == 0 }, "step \(step)")
                zeros.copy(
                    from: Tensor(filled: 3, shape: [count], dtype: .f32, device: device))
                live.append(zeros)
            }
        }
        #expect(live.allSatisfy { $0.floats().allSatisfy { $0 == 3 } })
    }

    /// Zeros that nobody has asked for yet cost no memory of the machine.
    @Test func zerosAreTouchedWhenTheyAreUsed() {
        let device = Device.cpu(threads: 1)
        let zeros = Tensor(zeros: [64 << 20], dtype: .f32, device: device)
        #expect(device.memory.used == 256 << 20)
        #expect(residentPages(zeros) == 0)
        #expect(zeros.cells(5_000_000..<5_000_010).floats() == [Float](repeating: 0, count: 10))
        zeros.cells(5_000_000..<5_000_010).zero()
        #expect((1...512).contains(residentPages(zeros)))
    }

    private func residentPages(_ tensor: Tensor) -> Int {
        tensor.withBytes { bytes in
            guard let base = bytes.baseAddress else { return 0 }
            let page = 4096
            let start = (page - Int(bitPattern: base) % page) % page
            var pages = [UInt8](repeating: 0, count: (bytes.count - start) / page)
            #expect(mincore(base + start, pages.count * page, &pages) == 0)
            return pages.count { $0 & 1 == 1 }
        }
    }

    /// Attention must not keep a table of scores: memory grows with the rows, not with their square.
    @Test func attentionMemoryIsLinearInTheRows() {
        func peak(_ rows: Int) -> Int {
            let device = Device.cpu(threads: 1)
            let tape = Tape()
            let q = tape.leaf(Tensor(filled: 0.1, shape: [rows, 16], dtype: .f32, device: device))
            let y = NN.attention(
                q, q, q, heads: 1, kvHeads: 1, layout: AttentionLayout(lengths: [rows]), scale: 0.25
            )
            tape.backward([(y, y.detach())])
            return device.memory.peak
        }
        #expect(peak(2048) < 3 * peak(1024))
    }

    /// The LM head must not keep the logits of all rows.
    @Test func logprobsNeverHoldAllLogits() {
        let device = Device.cpu(threads: 1)
        let (rows, vocabulary) = (2000, 20_000)
        let hidden = Tensor(filled: 0.1, shape: [rows, 8], dtype: .f32, device: device)
        let weight = Tensor(filled: 0.1, shape: [vocabulary, 8], dtype: .f32, device: device)
        let targets = Tensor([Int32](repeating: 3, count: rows), device: device)
        let tape = Tape()
        let r = NN.logprobs(tape.leaf(hidden), weight: tape.leaf(weight), targets: targets)
        tape.backward(r.logprobs.sum())
        #expect(device.memory.peak < rows * vocabulary * 4 / 4)
        expectClose(
            r.logprobs.doubles(), [Double](repeating: -9.903487552536127, count: rows),
            .f32Reduction(64))
    }

    @Test func theArgmaxFlagIsTheFirstOfEquals() {
        let device = Device.cpu(threads: 1)
        let hidden = Tensor([Float(1), 2, -1], shape: [3, 1], device: device)
        let weight = Tensor([Float(0), 5, 5, 1], shape: [4, 1], device: device)
        let targets = Tensor([Int32(1), 2, 0], device: device)
        let r = NN.logprobs(hidden, weight: weight, targets: targets, entropy: true, argmax: true)
        #expect(r.correct?.ints() == [1, 0, 1])
        #expect(r.entropy?.shape == [3])
    }

    @Test func extremeLogitsStayFinite() {
        let device = Device.cpu(threads: 1)
        let hidden = Tensor([Float(1), -1], shape: [2, 1], device: device)
        let weight = Tensor([Float(3000), -3000, 0], shape: [3, 1], device: device)
        let r = NN.logprobs(
            hidden, weight: weight, targets: Tensor([Int32(0), 0], device: device), entropy: true)
        #expect(r.logprobs.doubles() == [0, -6000])
        #expect(r.entropy?.doubles() == [0, 0])
    }
}
