import KeelTensor
import KeelTestSupport
import Testing

/// The operations of objectives: values at the edges, and every gradient against central differences.
@Suite struct SmallOpTests {
    let device = Device.cpu(threads: 1)

    struct Unary: Sendable, CustomTestStringConvertible {
        let name: String
        let range: ClosedRange<Double>
        let f: @Sendable (Tensor) -> Tensor

        var testDescription: String { name }
    }

    static let unary: [Unary] = [
        Unary(name: "neg", range: -2...2) { -$0 },
        Unary(name: "exp", range: -2...2) { $0.exp() },
        Unary(name: "log", range: 0.2...3) { $0.log() },
        Unary(name: "log1p", range: -0.5...3) { $0.log1p() },
        Unary(name: "expm1", range: -2...2) { $0.expm1() },
        Unary(name: "sqrt", range: 0.2...3) { $0.sqrt() },
        Unary(name: "square", range: -2...2) { $0.square() },
        Unary(name: "abs", range: 0.1...2) { ($0 - 1.05).abs() },
        Unary(name: "sigmoid", range: -5...5) { $0.sigmoid() },
        Unary(name: "logSigmoid", range: -5...5) { $0.logSigmoid() },
        Unary(name: "softplus", range: -5...5) { $0.softplus() },
        Unary(name: "tanh", range: -3...3) { $0.tanh() },
        Unary(name: "relu", range: -2...2) { $0.relu() },
        Unary(name: "reciprocal", range: 0.3...2) { $0.reciprocal() },
        Unary(name: "log1mexp", range: -3...(-0.05)) { $0.log1mexp() },
        Unary(name: "scale", range: -2...2) { 0.3 * $0 },
        Unary(name: "offset", range: -2...2) { 1 - ($0 + 2) },
        Unary(name: "clamp", range: -2...2) { $0.clamp(-0.7, 0.9) },
        Unary(name: "sum", range: -2...2) { $0.sum() },
        Unary(name: "sum 1", range: -2...2) { $0.sum(axis: 1, keepDims: true) },
        Unary(name: "mean -1", range: -2...2) { $0.mean(axis: -1) },
        Unary(name: "amax", range: -2...2) { $0.amax(axis: 0) },
        Unary(name: "amin", range: -2...2) { $0.amin() },
        Unary(name: "logsumexp", range: -2...2) { $0.logsumexp(axis: -1) },
        Unary(name: "softmax", range: -2...2) { $0.softmax() },
        Unary(name: "softmax 0", range: -2...2) { $0.softmax(axis: 0) },
        Unary(name: "logSoftmax", range: -2...2) { $0.logSoftmax() },
        Unary(name: "cumsum", range: -2...2) { $0.cumsum() },
        Unary(name: "cumsum reverse", range: -2...2) { $0.cumsum(axis: 1, reverse: true) },
        Unary(name: "sort", range: -2...2) { $0.sort() },
        Unary(name: "sort descending", range: -2...2) { $0.sort(axis: 0, descending: true) },
        Unary(name: "reshape", range: -2...2) { $0.reshaped([4, -1]) * $0.reshaped([4, 6]) },
        Unary(name: "slice", range: -2...2) { $0.slice(axis: 1, 1, -1) },
        Unary(name: "index", range: -2...2) { x in
            x.indexed(Tensor([Int32(2), 0, 2], device: x.device), axis: -1)
        },
        Unary(name: "gather", range: -2...2) { x in
            x.gather(Tensor((0..<12).map { Int32($0 % 4) }, shape: [2, 3, 2], device: x.device))
        },
        Unary(name: "broadcast", range: -2...2) {
            $0.reshaped([2, 3, 1, 4]).broadcast([5, 2, -1, 6, -1])
        },
        Unary(name: "transpose", range: -2...2) { $0.transposed().square() },
        Unary(name: "transpose all", range: -2...2) { $0.transposed([2, 0, 1]).cumsum() },
        Unary(name: "concat", range: -2...2) { Tensor.concat([$0, $0.exp(), $0], axis: 1) },
        Unary(name: "used twice", range: -2...2) { $0 * $0 + $0.exp() * $0 },
    ]

    @Test(arguments: unary) func gradient(_ op: Unary) {
        gradCheck([Generator(op.name).tensor([2, 3, 4], op.range, device)], op.name) { op.f($0[0]) }
    }

    @Test(arguments: [[2, 3], [1, 3], [3], [2, 1], []] as [[Int]]) func binaryGradients(
        _ shape: [Int]
    ) {
        let a = Generator("a").tensor([2, 3], 0.5...2, device)
        let b = Generator("b").tensor(shape, 0.6...2.1, device)
        gradCheck([a, b], "add") { $0[0] + $0[1] }
        gradCheck([a, b], "sub") { $0[0] - $0[1] }
        gradCheck([a, b], "mul") { $0[0] * $0[1] }
        gradCheck([b, a], "div") { $0[0] / $0[1] }
        gradCheck([a, b], "min") { Tensor.minimum($0[0], $0[1]) }
        gradCheck([a, b], "max") { Tensor.maximum($0[0], $0[1]) }
        gradCheck([a, b], "pow") { Tensor.pow($0[0], $0[1]) }
        let condition = Tensor([1.0, 0, 1], device: device)
        gradCheck([a, b], "where") { Tensor.where(condition, $0[0], $0[1]) }
    }

    @Test func masksLeaveCellsOutBySelection() {
        let x = Tensor([1.0, .nan, 3, .nan], shape: [2, 2], device: device)
        let mask = Tensor([1.0, 0, 1, 0], shape: [2, 2], device: device)
        let tape = Tape()
        let leaf = tape.leaf(x)
        let y = leaf.sum(axis: -1, mask: mask)
        #expect(y.doubles() == [1, 3])
        #expect(x.mean(mask: mask).item() == 2)
        tape.backward([(y, Tensor(filled: 1, shape: [2], dtype: .f64, device: device))])
        #expect(tape.gradient(of: leaf)?.doubles() == [1, 0, 1, 0])
    }

    @Test func reductionsOverNoCells() {
        let x = Tensor(zeros: [2, 0], dtype: .f64, device: device)
        #expect(x.sum(axis: 1).doubles() == [0, 0])
        #expect(x.mean(axis: 1).doubles() == [0, 0])
        #expect(x.amax(axis: 1).doubles() == [-.infinity, -.infinity])
        #expect(x.amin().item() == .infinity)
        #expect(x.logsumexp().item() == -.infinity)
    }

    @Test func theSideNotTakenHasNoGradientEvenIfItIsNaN() {
        let tape = Tape()
        let x = tape.leaf(Tensor([-1.0, 4], device: device))
        let y = Tensor.where(x.detach().gt(0), x.log(), x.scale(2)).sum()
        tape.backward(y)
        #expect(tape.gradient(of: x)?.doubles() == [2, 0.25])
    }

    @Test func equalCellsShareTheGradient() {
        let tape = Tape()
        let x = tape.leaf(Tensor([2.0, 5, 5, 1], device: device))
        tape.backward(x.amax())
        #expect(tape.gradient(of: x)?.doubles() == [0, 0.5, 0.5, 0])
        let again = Tape()
        let (a, b) = (
            again.leaf(Tensor([1.0], device: device)), again.leaf(Tensor([1.0], device: device))
        )
        again.backward(Tensor.maximum(a, b).sum())
        #expect(again.gradient(of: a)?.doubles() == [0.5])
        #expect(again.gradient(of: b)?.doubles() == [0.5])
    }

    @Test func edges() {
        let x = Tensor([-800.0, 0, 800, .infinity, -.infinity], device: device)
        #expect(x.sigmoid().doubles() == [0, 0.5, 1, 1, 0])
        #expect(x.logSigmoid().doubles()[0] == -800)
        #expect(x.softplus().doubles()[2] == 800)
        let pair = Tensor([-1000.0, -1000.0], device: device).logsumexp()
        expectClose(pair.doubles(), [-999.306852819440055], Tolerance(relative: 1e-15), "logsumexp")
        #expect(Tensor([0.0], device: device).log().item() == -.infinity)
        #expect(Tensor([-1e-20], device: device).log1mexp().item().rounded() == -46)
        #expect(Tensor([1.0, .nan, 0], device: device).amax().item().isNaN)
        #expect(Tensor([3.0, .nan, 1], device: device).sort().doubles().prefix(2) == [1, 3])
        #expect(x.gt(0).doubles() == [0, 0, 1, 1, 0])
        #expect(x.ge(0).doubles() == [0, 1, 1, 1, 0])
        #expect(x.lt(0).doubles() == [1, 0, 0, 0, 1])
        #expect(x.le(0).doubles() == [1, 1, 0, 0, 1])
        #expect(x.eq(0).doubles() == [0, 1, 0, 0, 0])
    }

    @Test func whiteningHasMeanZeroAndVarianceOne() {
        let x = Generator("whiten").tensor([6, 4], 2...9, device)
        let mask = Tensor((0..<24).map { $0 % 3 == 0 ? 0.0 : 1 }, shape: [6, 4], device: device)
        let y = x.whitened(epsilon: 0, mask: mask)
        #expect(!y.isTracked)
        let mean = y.mean(mask: mask).item()
        #expect(abs(mean) < 1e-12)
        let variance = (y - mean).square().mean(mask: mask).item()
        #expect(abs(variance - 1) < 1e-12)
        let kept = x.whitened(epsilon: 0, keepMean: true, mask: mask).mean(mask: mask).item()
        let plain = x.mean(mask: mask).item()
        #expect(abs(kept - plain) < 1e-12)
        #expect(Tensor([5.0], device: device).whitened().doubles() == [5])
    }

    @Test func roundsOnceToTheTypeOfTheTensor() {
        let x = Tensor([Float(0.1), 0.7], device: device)
        let wide = x.floats().map { Tensor([Double($0)], device: device).exp().item() }
        #expect(x.exp().floats() == wide.map { Float($0) })
        #expect(
            Tensor([1.00390625, 1.01171875], device: device).cast(.bf16).doubles() == [1, 1.015625])
        #expect(
            Tensor([2.9, -2.9, .nan, 1e300], device: device).cast(.i32).ints() == [
                2, -2, .min, .max,
            ])
        // Between two bf16 numbers, above the middle by less than f32 can tell: one rounding goes up.
        let middle = 1.00390625 + 1e-12
        #expect(Tensor([middle], device: device).cast(.bf16).item() == 1.0078125)
    }

    @Test func castCarriesTheGradientAcrossTypes() {
        let tape = Tape()
        let x = tape.leaf(Tensor([Float(1), 2, 3], device: device))
        tape.backward((x.cast(.f64).square().sum()))
        #expect(tape.gradient(of: x)?.dtype == .f32)
        #expect(tape.gradient(of: x)?.doubles() == [2, 4, 6])
    }
}
