import CKernels
import Glibc

/// One distribution over the vocabulary, given by its logits.
package struct Draw {
    /// True when there is something to draw and no logit is NaN or +inf.
    package let isUsable: Bool
    /// The largest logit.
    private let top: Float
    /// Sums of exp(logit - top) over blocks.
    private let blocks: [Double]
    private let sum: Double
    private let logSum: Double
    private let kernels: UnsafePointer<ck_table>

    private static let block = Int(CK_DRAW_BLOCK)

    /// - Parameters:
    ///   - logits: a row of them.
    ///   - device: where kernels come from.
    package init(_ logits: ArraySlice<Float>, _ device: Device) {
        let kernels = device.cache.tables[Int(DType.f32.code)]
        self.kernels = kernels
        top =
            logits.isEmpty
            ? -.infinity
            : Draw.withCells(logits) { Float(kernels.pointee.largest($0, Int64(logits.count))) }
        isUsable = top.isFinite
        guard isUsable else {
            (blocks, sum, logSum) = ([], .nan, .nan)
            return
        }
        let top = Double(top)
        blocks = Draw.withCells(logits) { cells in
            stride(from: 0, to: logits.count, by: Draw.block).map { start in
                kernels.pointee.exps(
                    nil, cells + start, Int64(min(Draw.block, logits.count - start)), top)
            }
        }
        sum = blocks.reduce(0, +)
        logSum = Glibc.log(sum)
    }

    /// log p of one of the row's tokens.
    package func logprob(_ logit: Float) -> Float { Float(Double(logit) - Double(top) - logSum) }

    /// The token whose share of [0, 1) holds `u`: inverse of the cumulative distribution.
    ///
    /// - Parameter logits: those that it was made of.
    /// - Returns: the index in the row; never one of probability 0.
    package func token(_ logits: ArraySlice<Float>, _ u: Double) -> Int32 {
        let target = u * sum
        var reached = 0.0
        var last: Int32 = 0
        for (number, whole) in blocks.enumerated() where whole > 0 {
            let start = number * Draw.block
            let isInside = reached + whole > target
            // The block that holds it, and the last one with anything to draw: rounding may lead past the end.
            guard isInside || number == blocks.lastIndex(where: { $0 > 0 }) else {
                reached += whole
                continue
            }
            var before = reached
            for (i, p) in exps(logits, start).enumerated() where p > 0 {
                before += Double(p)
                last = Int32(start + i)
                if before > target { return last }
            }
            reached += whole
            if isInside { return last }
        }
        return last
    }

    /// exp(logit - top) of the block that begins at `start`.
    private func exps(_ logits: ArraySlice<Float>, _ start: Int) -> [Float] {
        let count = min(Draw.block, logits.count - start)
        return [Float](unsafeUninitializedCapacity: count) { buffer, filled in
            filled = count
            guard let base = buffer.baseAddress else { return }
            Draw.withCells(logits) { cells in
                _ = kernels.pointee.exps(base, cells + start, Int64(count), Double(top))
            }
        }
    }

    private static func withCells<R>(
        _ logits: ArraySlice<Float>, _ body: (UnsafePointer<Float>) -> R
    ) -> R {
        logits.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress else {
                preconditionFailure("a distribution over nothing")
            }
            return body(base)
        }
    }
}
