import Foundation
import KeelTestSupport
import Testing

@testable import KeelTensor

/// Gradients of weights by packed products: right for every tail, added to what is there.
@Suite struct PackedGradientTests {
    private static func matrix(_ rows: Int, _ columns: Int, _ device: Device) -> Tensor {
        let cells = (0..<rows * columns).map { Float(sin(Double($0) * 0.37 + Double(columns))) }
        return Tensor(cells, shape: [rows, columns], dtype: .bf16, device: device)
    }

    @Test(
        arguments: [
            (1, 1, 33), (2, 5, 64), (3, 64, 65), (255, 70, 130), (513, 66, 200), (1100, 9, 40),
        ]
            as [(rows: Int, m: Int, n: Int)])
    func isTheSumOverRows(shape: (rows: Int, m: Int, n: Int)) {
        let device = Device.cpu(threads: 2)
        let (a, b) = (
            Self.matrix(shape.rows, shape.m, device), Self.matrix(shape.rows, shape.n, device)
        )
        guard PackedMatrix.isFastGradient(a, n: shape.n) else { return }
        let c = Tensor(filled: 3, shape: [shape.m, shape.n], dtype: .f32, device: device)
        PackedMatrix.addGradient(c, a, b)
        let (x, y, z) = (a.doubles(), b.doubles(), c.doubles())
        for i in 0..<shape.m {
            for j in 0..<shape.n {
                let terms = (0..<shape.rows).map { x[$0 * shape.m + i] * y[$0 * shape.n + j] }
                // A rounding for each term and one for what was there.
                let bound =
                    Double(shape.rows + 1) * 0x1p-24 * terms.reduce(3) { $0 + abs($1) }
                #expect(abs(z[i * shape.n + j] - terms.reduce(3, +)) <= bound, "cell \(i), \(j)")
            }
        }
    }
}
