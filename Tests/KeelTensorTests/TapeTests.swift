import KeelTensor
import KeelTestSupport
import Testing

@Suite struct TapeTests {
    let device = Device.cpu(threads: 1)

    @Test func gradientsAddUpInTheCallersTensor() {
        let weight = Tensor([Float(1), 2], device: device)
        let sum = Tensor(filled: 10, shape: [2], dtype: .f32, device: device)
        for _ in 0..<2 {
            let tape = Tape()
            let w = tape.leaf(weight, gradient: sum)
            tape.backward(w.square().sum())
        }
        #expect(sum.doubles() == [14.0, 18.0])
    }

    /// bf16 weights are copies of f32 masters: their gradient is f32 and is not rounded to bf16.
    @Test func aBf16LeafHasAnF32Gradient() {
        let x = Tensor(filled: 1, shape: [300, 16], dtype: .bf16, device: device)
        let tape = Tape()
        let sum = Tensor(zeros: [16, 16], dtype: .f32, device: device)
        let w = tape.leaf(Tensor(zeros: [16, 16], dtype: .bf16, device: device), gradient: sum)
        let y = NN.linear(x, weight: w)
        tape.backward([(y, Tensor(filled: 1, shape: [300, 16], dtype: .bf16, device: device))])
        #expect(sum.floats().allSatisfy { $0 == 300 })
    }

    /// A gradient that is there may be another tensor's too, here the caller's seed.
    @Test(arguments: [DType.f32, .bf16, .f64])
    func addingToAGradientLeavesItAsItWas(dtype: DType) {
        let seed = Generator("seed").tensor([9, 6], dtype: dtype, device)
        let before = seed.bytes()
        let weight = Generator("weight").tensor([6, 6], dtype: dtype, device)
        let tape = Tape()
        let x = tape.leaf(Generator("x").tensor([9, 6], dtype: dtype, device)).scale(1)
        let y = NN.linear(x, weight: weight, adding: [x])
        tape.backward([(y, seed), (NN.linear(x, weight: weight), seed)])
        #expect(seed.bytes() == before)
    }

    @Test func oneWeightUsedTwiceGetsBothShares() {
        let tape = Tape()
        let e = tape.leaf(Generator("tied").tensor([5, 4], device))
        let ids = Tensor([Int32(1), 2], device: device)
        let r = NN.logprobs(NN.embedding(e, ids: ids), weight: e, targets: ids)
        tape.backward(r.logprobs.sum())
        gradCheck([e.detach()], "tied embedding") { x in
            NN.logprobs(NN.embedding(x[0], ids: ids), weight: x[0], targets: ids).logprobs
        }
        #expect(tape.gradient(of: e) != nil)
    }

    @Test func nothingIsRecordedWithoutLeaves() {
        let x = Tensor([1.0], device: device)
        #expect(!x.exp().isTracked)
        #expect(!Tape(recording: false).leaf(x).exp().isTracked)
        let tape = Tape()
        #expect(tape.leaf(x).exp().isTracked && !tape.leaf(x).exp().detach().isTracked)
        #expect(tape.gradient(of: tape.leaf(x)) == nil)
    }

    @Test func severalOutputsRunBackTogether() {
        let tape = Tape()
        let x = tape.leaf(Tensor([1.0, 2], device: device))
        let one = Tensor(filled: 1, shape: [2], dtype: .f64, device: device)
        tape.backward([(x.square(), one), (x.scale(10), one)])
        #expect(tape.gradient(of: x)?.doubles() == [12, 14])
    }

    /// The tape holds closures that hold tensors; none may hold the tape.
    @Test func aTapeThatNeverRanBackwardIsFreed() {
        weak var gone: Tape?
        do {
            let tape = Tape()
            gone = tape
            let x = tape.leaf(Generator("leak").tensor([4, 8], device))
            let w = tape.leaf(Generator("leak w").tensor([8], device))
            let ids = Tensor([Int32(0), 1, 2, 3], device: device)
            var y = NN.rmsNorm(x, weight: w, eps: 1e-5)
            y = NN.linear(
                NN.layerNorm(y, weight: w, bias: w, eps: 1e-5),
                weight: tape.leaf(Tensor(zeros: [8, 8], dtype: .f64, device: device)), bias: w)
            y = NN.rope(y, heads: 1, positions: ids, frequencies: [1])
            y = NN.attention(
                y, y, y, heads: 1, kvHeads: 1, layout: AttentionLayout(lengths: [4]), scale: 1)
            y = NN.swiglu(NN.silu(y), NN.gelu(y)) + y
            y = NN.gatherRows(y, ids)
            let r = NN.logprobs(y, weight: x, targets: ids, entropy: true, argmax: true)
            _ = (r.logprobs + 1).exp().cast(.f32).sum(axis: 0).reshaped([1])
            _ = Tensor.where(
                r.logprobs, r.logprobs.softmax(),
                Tensor.maximum(y.slice(axis: 1, 0, 1).reshaped([4]), r.logprobs))
            _ = Tensor.concat([y, y.transposed([1, 0]).reshaped([4, 8])]).gather(
                Tensor(zeros: [8, 1], dtype: .i32, device: device)
            ).broadcast([2, 8, 1])
        }
        #expect(gone == nil)
    }

    @Test func misuseStops() async {
        await #expect(processExitsWith: .failure) {
            let device = Device.cpu(threads: 1)
            let tape = Tape()
            let y = tape.leaf(Tensor([1.0], device: device)).exp().sum()
            tape.backward(y)
            tape.backward(y)
        }
        await #expect(processExitsWith: .failure) {
            let device = Device.cpu(threads: 1)
            _ =
                Tape().leaf(Tensor([1.0], device: device))
                + Tape().leaf(Tensor([1.0], device: device))
        }
        await #expect(processExitsWith: .failure) {
            let device = Device.cpu(threads: 1)
            let tape = Tape()
            tape.backward(tape.leaf(Tensor([1.0, 2], device: device)).exp())
        }
        await #expect(processExitsWith: .failure) {
            let device = Device.cpu(threads: 1)
            _ = NN.embedding(
                Tensor(zeros: [4, 2], dtype: .f32, device: device),
                ids: Tensor([Int32(4)], device: device))
        }
    }
}
