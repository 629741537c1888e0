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

    @Test(arguments: [DType.f32, .bf16])
    func aRowHasItsBitsAloneAndAmongOthers(dtype: DType) {
        let device = Device.cpu(threads: 2)
        let x = Self.matrix(200, 96, dtype, device)
        let w = Self.matrix(150, 96, dtype, device)
        func product(_ rows: Tensor) -> [Double] {
            let y = Tensor(zeros: [rows.rows, 150], dtype: dtype, device: device)
            Matmul.rows(y, rows, w, transposed: true)
            return y.doubles()
        }
        let all = product(x)
        for (start, count) in [(0, 1), (7, 1), (8, 2), (100, 6), (90, 64), (199, 1)] {
            #expect(
                product(x.rowsView(start, count))
                    == Array(all[start * 150..<(start + count) * 150]))
        }
    }

    @Test func packedBeforeOrForTheProduct() {
        let device = Device.cpu(threads: 1)
        guard PackedMatrix.isFast(.f32, k: 40, device) else { return }
        let x = Self.matrix(9, 40, .f32, device)
        let w = Self.matrix(77, 40, .f32, device)
        let bias = Self.matrix(1, 77, .f32, device).viewed([77])
        let packed = PackedMatrix(w, transposed: true)
        #expect(
            NN.linear(x, packed: packed, bias: bias).doubles()
                == NN.linear(x, weight: w, bias: bias).doubles())
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
