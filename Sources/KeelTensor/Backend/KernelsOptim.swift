import CKernels
import Glibc
import KeelCore

extension Kernels {
    /// Cells of an optimizer tile.
    private static let optimizerTile = 1 << 16

    /// Pieces of many tensors, in order.
    private static func pieces(_ counts: [Int]) -> [(tensor: Int, start: Int, count: Int)] {
        counts.enumerated().flatMap { tensor, count in
            stride(from: 0, to: count, by: optimizerTile).map {
                (tensor, $0, min(optimizerTile, count - $0))
            }
        }
    }

    static func adamW(
        _ parameters: [Optim.Parameter], _ step: ck_adamw, areMomentsFresh: Bool = false
    ) {
        guard let device = parameters.first?.master.device else { return }
        let work = pieces(parameters.map(\.master.count))
        StageClock.measure(.optimizer) {
            device.pool.parallelFor(work.count) { number in
                let (tensor, start, count) = work[number]
                if areMomentsFresh {
                    for moment in [parameters[tensor].m, parameters[tensor].v] {
                        memset(moment.cell(start), 0, count * moment.dtype.size)
                    }
                }
                adamW(parameters, step, work[number])
            }
        }
        withExtendedLifetime(parameters) {}
    }

    /// One piece of one tensor.
    private static func adamW(
        _ parameters: [Optim.Parameter], _ step: ck_adamw,
        _ piece: (tensor: Int, start: Int, count: Int)
    ) {
        let (number, start, count) = piece
        let p = parameters[number]
        let table = (p.lowPrecision ?? p.master).kernels
        var step = step
        step.lr = p.lr
        step.decay = p.weightDecay
        withUnsafePointer(to: step) { step in
            table.pointee.adamw(
                p.master.cell(start), p.m.cell(start), p.v.cell(start),
                p.lowPrecision.map { $0.cell(start) }, p.gradient.cell(start), Int64(count),
                step)
        }
    }

    static func squaredNorm(_ tensors: [Tensor]) -> Double {
        guard let device = tensors.first?.device else { return 0 }
        let work = pieces(tensors.map(\.count))
        var sums = [Double](repeating: 0, count: work.count)
        sums.withUnsafeMutableBufferPointer { sums in
            let sums = sums
            StageClock.measure(.optimizer) {
                device.pool.parallelFor(work.count) { i in
                    let (number, start, count) = work[i]
                    let t = tensors[number]
                    sums[i] = t.kernels.pointee.squared_norm(t.cell(start), Int64(count))
                }
            }
        }
        withExtendedLifetime(tensors) {}
        return sums.reduce(0, +)
    }
}
