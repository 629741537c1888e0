import KeelCore

/// Cutting work into tiles that depend on the shape alone, so results do not depend on the number of threads.
enum Tiles {
    /// Cells of one elementwise tile.
    static let cells = 1 << 14

    /// Runs `body(start, count)` over pieces of `total` cells.
    static func overCells(_ device: Device, _ total: Int, _ body: (Int, Int) -> Void) {
        over(device, total, size: cells, body)
    }

    /// Runs `body(start, count)` over pieces of `total` rows of `columns` cells.
    static func overRows(_ device: Device, _ total: Int, columns: Int, _ body: (Int, Int) -> Void) {
        over(device, total, size: max(1, cells / max(1, columns)), body)
    }

    /// Runs `body(start, count)` over pieces of `size`.
    static func over(_ device: Device, _ total: Int, size: Int, _ body: (Int, Int) -> Void) {
        if total <= size {
            if total > 0 { StageClock.measure(.elementwise) { body(0, total) } }
            return
        }
        StageClock.measure(.elementwise) {
            device.pool.parallelFor((total + size - 1) / size) { i in
                body(i * size, min(size, total - i * size))
            }
        }
    }

    /// Runs `body(start, count)` over pieces of at most `most`, as many and as long for one thread as for the other.
    ///
    /// For what no cut changes: it follows the number of threads.
    static func evenly(_ device: Device, _ total: Int, most: Int, _ body: (Int, Int) -> Void) {
        let cut = Cut(total, most: most, threads: device.pool.threads)
        StageClock.measure(.elementwise) {
            device.pool.parallelFor(cut.pieces) { i in
                let piece = cut[i]
                body(piece.lowerBound, piece.count)
            }
        }
    }

    /// `total` in pieces of at most `most`, their number a multiple of the threads where there are enough.
    struct Cut {
        let pieces: Int
        private let total: Int

        init(_ total: Int, most: Int, threads: Int) {
            let fewest = (total + most - 1) / most
            self.total = total
            pieces = min(total, (fewest + threads - 1) / threads * threads)
        }

        subscript(_ i: Int) -> Range<Int> {
            total * i / pieces..<total * (i + 1) / pieces
        }
    }

    /// sums += what `body(start, count, partials)` adds up over pieces of `total` rows, in the order of the pieces.
    ///
    /// - Parameter sums: sums in f32 or f64, one number per column each; nil ones are skipped.
    static func reduceRows(
        _ device: Device, _ total: Int, columns: Int, into sums: [Tensor?],
        _ body: (_ start: Int, _ count: Int, _ partials: [UnsafeMutableRawPointer?]) -> Void
    ) {
        let size = max(16, 4 * cells / max(1, columns))
        let pieces = (total + size - 1) / size
        if pieces <= 1 {
            if total > 0 {
                StageClock.measure(.elementwise) { body(0, total, sums.map { $0?.raw }) }
            }
            return
        }
        StageClock.measure(.elementwise) {
            reduce(device, total, pieces, size, sums, body)
        }
    }

    private static func reduce(
        _ device: Device, _ total: Int, _ pieces: Int, _ size: Int, _ sums: [Tensor?],
        _ body: (_ start: Int, _ count: Int, _ partials: [UnsafeMutableRawPointer?]) -> Void
    ) {
        let partials = sums.map { sum in
            sum.map { Tensor(zeros: [pieces, $0.count], dtype: $0.dtype, device: device) }
        }
        device.pool.parallelFor(pieces) { i in
            body(i * size, min(size, total - i * size), partials.map { $0?.row(i) })
        }
        for (sum, partial) in zip(sums, partials) {
            guard let sum, let partial else { continue }
            for i in 0..<pieces {
                sum.kernels.pointee.accumulate(sum.raw, partial.row(i), Int64(sum.count))
            }
        }
    }
}
