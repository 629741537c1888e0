import KeelCore
import KeelTensor

/// Tensors of weight files on their way into memory: read, converted and fingerprinted in pieces, by all threads
/// of a device at once.
///
/// A piece is still in a core's cache when it is hashed and rounded, and the pages it goes to are first touched by
/// the thread that fills them.
struct WeightReading {
    private struct Target {
        let file: SafetensorsFile
        let entry: SafetensorsFile.Entry
        /// nil is half precision.
        let stored: DType?
        let tensor: Tensor
        let rounded: Tensor?
    }

    private struct Piece {
        let file: PiecewiseFile
        let range: Range<Int>
        /// nil where the bytes count for the fingerprint alone.
        let target: Target?
        /// Of the tensor.
        let cells: Range<Int>
    }

    /// Bytes of a piece: half of a second cache, and whole cells of every type.
    private static let pieceBytes = 1 << 19

    private var targets: [Target] = []

    /// Has a tensor read; each once.
    ///
    /// - Parameters:
    ///   - tensor: gets the cells, widened or rounded to its type.
    ///   - rounded: gets the cells of `tensor`, rounded to its own type.
    /// - Throws: `KeelError` (badData) for a type that no tensor has.
    mutating func add(
        _ entry: SafetensorsFile.Entry, of file: SafetensorsFile, to tensor: Tensor,
        rounded: Tensor? = nil
    ) throws {
        targets.append(
            Target(
                file: file, entry: entry, stored: try file.type(of: entry, readAs: tensor.dtype),
                tensor: tensor, rounded: rounded))
    }

    /// Reads everything that was asked for.
    ///
    /// - Parameter whole: files of which a fingerprint is wanted.
    /// - Returns: SHA-256 over those of the halves of each piece, by the path of the file.
    /// - Throws: `KeelError` (io), also for a file that changes meanwhile.
    @discardableResult
    func run(
        on device: Device, fingerprints whole: [SafetensorsFile] = []
    ) throws
        -> [String: String]
    {
        let wanted = Set(whole.map(\.path))
        let others = targets.filter { !wanted.contains($0.file.path) }
        var pieces = others.flatMap { WeightReading.cut($0.file, $0.entry.range, $0.entry, $0) }
        for file in whole {
            let own = targets.filter { $0.file.path == file.path }.map { ($0.entry.name, $0) }
            let byName = Dictionary(uniqueKeysWithValues: own)
            pieces += file.parts.flatMap { entry, range in
                WeightReading.cut(file, range, entry, entry.flatMap { byName[$0.name] })
            }
        }
        let results = Guarded([Result<String, any Error>?](repeating: nil, count: pieces.count))
        StageClock.measure(.files) {
            device.pool.parallelFor(pieces.count) { number in
                let piece = pieces[number]
                let isHashed = wanted.contains(piece.file.path)
                let result = Result { try WeightReading.read(piece, device, isHashed: isHashed) }
                results.withLock { $0[number] = result }
            }
        }
        let digests = try results.withLock { $0 }.map { try $0?.get() ?? "" }
        for file in whole + others.map(\.file) { try file.file.checkUnchanged() }
        var hashes = Dictionary(whole.map { ($0.path, SHA256()) }, uniquingKeysWith: { $1 })
        for (piece, digest) in zip(pieces, digests) {
            hashes[piece.file.path]?.update("\(piece.range.count) \(digest)\n")
        }
        return hashes.mapValues { $0.hex() }
    }

    /// A part of a file in pieces.
    private static func cut(
        _ file: SafetensorsFile, _ range: Range<Int>, _ entry: SafetensorsFile.Entry?,
        _ target: Target?
    ) -> [Piece] {
        let size = entry?.type.size ?? 1
        return stride(from: range.lowerBound, to: range.upperBound, by: pieceBytes).map { start in
            let part = start..<min(start + pieceBytes, range.upperBound)
            let first = (start - range.lowerBound) / size
            return Piece(
                file: file.file, range: part, target: target,
                cells: first..<first + part.count / size)
        }
    }

    /// - Returns: SHA-256 of both halves of the bytes; empty where nobody asks.
    private static func read(_ piece: Piece, _ device: Device, isHashed: Bool) throws -> String {
        guard let target = piece.target else {
            return isHashed ? SHA256.halves(try piece.file.bytes(piece.range)) : ""
        }
        let cells = target.tensor.cells(piece.cells)
        var digest = ""
        if let stored = target.stored {
            let raw =
                stored == cells.dtype
                ? cells : Tensor(roomFor: cells.shape, dtype: stored, device: device)
            try raw.read(piece.range, of: piece.file)
            if isHashed { digest = raw.fingerprint() }
            if stored != cells.dtype { cells.copy(from: raw) }
        } else {
            let bytes = try piece.file.bytes(piece.range)
            if isHashed { digest = SHA256.halves(bytes) }
            let values = (0..<cells.count).map {
                SafetensorsFile.widened(UInt16(bytes[2 * $0]) | UInt16(bytes[2 * $0 + 1]) << 8)
            }
            cells.copy(from: Tensor(values, device: device))
        }
        target.rounded?.cells(piece.cells).copy(from: cells)
        return digest
    }
}
