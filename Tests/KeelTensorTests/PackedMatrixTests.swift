import Foundation
import KeelTestSupport
import Testing

@testable import KeelTensor

/// Products on packed operands: right, and the same bits however they are cut.
@Suite struct PackedMatrixTests {
    struct Shape: CustomTestStringConvertible, Sendable {
        let m: Int, n: Int, k: Int
        let dtype: DType
        let transposed: Bool
        var testDescription: String { "\(m)x\(n)x\(k) \(dtype) \(transposed ? "T" : "N")" }
    }

    static let shapes: [Shape] = [
        (1, 1, 2), (1, 64, 16), (2, 65, 18), (5, 130, 34), (7, 63, 50), (97, 200, 64),
        (300, 70, 96),
    ].flatMap { m, n, k in
        [DType.f32, .bf16].flatMap { dtype in
            [true, false].map { Shape(m: m, n: n, k: k, dtype: dtype, transposed: $0) }
        }
    }

    private static func matrix(
        _ rows: Int, _ columns: Int, _ dtype: DType, _ device: Device
    )
        -> Tensor
    {
        let cells = (0..<rows * columns).map { Float(sin(Double($0) * 0.37 + Double(columns))) }
        return Tensor(cells, shape: [rows, columns], dtype: dtype, device: device)
    }

    @Test(arguments: shapes)
    func productsAreRight(shape s: Shape) {
        let device = Device.cpu(threads: 2)
        guard PackedMatrix.isFast(s.dtype, k: s.k, device) else { return }
        let x = Self.matrix(s.m, s.k, s.dtype, device)
        let w = Self.matrix(
            s.transposed ? s.n : s.k, s.transposed ? s.k : s.n, s.dtype, device)
        let y = Tensor(zeros: [s.m, s.n], dtype: .f32, device: device)
        PackedMatrix(w, transposed: s.transposed).multiply(y, x)
        let (a, b, c) = (x.doubles(), w.doubles(), y.doubles())
        for i in 0..<s.m {
            for j in 0..<s.n {
                let terms = (0..<s.k).map { p in
                    a[i * s.k + p] * b[s.transposed ? j * s.k + p : p * s.n + j]
                }
                // k roundings of partial sums, none larger than Σ |x w|.
                let bound = Double(s.k) * 0x1p-24 * terms.reduce(0) { $0 + abs($1) }
                #expect(abs(c[i * s.n + j] - terms.reduce(0, +)) <= bound)
            }
        }
    }

    /// The product is rounded with what is added to it, not before.
    @Test(arguments: shapes)
    func addendsAreRoundedWithTheProduct(shape s: Shape) {
        let device = Device.cpu(threads: 2)
        guard PackedMatrix.isFast(s.dtype, k: s.k, device) else { return }
        let x = Self.matrix(s.m, s.k, s.dtype, device)
        let w = Self.matrix(
            s.transposed ? s.n : s.k, s.transposed ? s.k : s.n, s.dtype, device)
        let packed = PackedMatrix(w, transposed: s.transposed)
        let product = Tensor(zeros: [s.m, s.n], dtype: .f32, device: device)
        packed.multiply(product, x)
        for type in Set([s.dtype, .f32]) {
            let addends = (1...2).map { number in
                Generator("addends").tensor([s.m, s.n], -4...4, number: number, device).cast(type)
            }
            let before = addends.map { $0.bytes() }
            for count in 0...2 {
                let y = Tensor(zeros: [s.m, s.n], dtype: type, device: device)
                packed.multiply(y, x, adding: Array(addends.prefix(count)))
                let sum = addends.prefix(count).reduce(product) { $0 + $1.cast(.f32) }
                #expect(y.bytes() == sum.cast(type).bytes(), "\(count) of \(type)")
            }
            #expect(addends.map { $0.bytes() } == before)
        }
    }

    @Test(arguments: [DType.f32, .bf16, .f64])
    func afterABiasAddendsAreAddedOneByOne(dtype: DType) {
        let device = Device.cpu(threads: 2)
        let x = Self.matrix(70, 40, dtype, device)
        let w = Self.matrix(77, 40, dtype, device)
        let bias = Self.matrix(1, 77, dtype, device).viewed([77])
        let addends = [Self.matrix(70, 77, dtype, device), Self.matrix(70, 77, dtype, device)]
        let y = NN.linear(x, weight: w, bias: bias, adding: addends)
        let apart = NN.linear(x, weight: w, bias: bias) + addends[0] + addends[1]
        #expect(y.bytes() == apart.bytes())
    }

    @Test(arguments: [DType.f32, .bf16], [0, 2])
    func aRowHasItsBitsAloneAndAmongOthers(dtype: DType, addends: Int) {
        let device = Device.cpu(threads: 2)
        let x = Self.matrix(200, 96, dtype, device)
        let w = Self.matrix(150, 96, dtype, device)
        let added = Array([x, Self.matrix(200, 96, dtype, device)].prefix(addends)).map {
            Tensor.concat([$0, $0], axis: 1).slice(axis: 1, 0, 150)
        }
        func product(_ start: Int, _ count: Int) -> [Double] {
            let y = Tensor(zeros: [count, 150], dtype: dtype, device: device)
            Matmul.rows(
                y, x.rowsView(start, count), w, transposed: true,
                adding: added.map { $0.rowsView(start, count) })
            return y.doubles()
        }
        let all = product(0, 200)
        for (start, count) in [(0, 1), (7, 1), (8, 2), (100, 6), (90, 64), (199, 1)] {
            #expect(
                product(start, count)
                    == Array(all[start * 150..<(start + count) * 150]))
        }
    }

    @Test(arguments: [DType.f32, .bf16])
    func packedBeforeOrForTheProduct(dtype: DType) {
        let device = Device.cpu(threads: 1)
        guard PackedMatrix.isFast(dtype, k: 40, device) else { return }
        let x = Self.matrix(9, 40, dtype, device)
        let w = Self.matrix(77, 40, dtype, device)
        let residual = Self.matrix(9, 77, dtype, device)
        let packed = PackedMatrix(w, transposed: true)
        for bias in [Self.matrix(1, 77, dtype, device).viewed([77]), nil] {
            #expect(
                NN.linear(x, packed: packed, bias: bias, adding: [residual]).bytes()
                    == NN.linear(x, weight: w, bias: bias, adding: [residual]).bytes())
        }
    }

    @Test func sumsAreAddedTo() {
        let device = Device.cpu(threads: 1)
        guard PackedMatrix.isFast(.f32, k: 12, device) else { return }
        let x = Self.matrix(5, 12, .f32, device)
        let w = Self.matrix(12, 33, .f32, device)
        let packed = PackedMatrix(w, transposed: false)
        let once = Tensor(zeros: [5, 33], dtype: .f32, device: device)
        packed.add(to: once, x)
        let twice = Tensor(zeros: [5, 33], dtype: .f32, device: device)
        packed.add(to: twice, x)
        packed.add(to: twice, x)
        for (a, b) in zip(once.doubles(), twice.doubles()) { #expect(abs(2 * a - b) < 1e-5) }
    }
}
