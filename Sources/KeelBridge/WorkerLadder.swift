/// Which rows are tried next, and what a failure means for them.
///
/// A call that fails is made once more in a fresh worker. If it fails again, the guilty row is looked
/// for: first the one that was being worked at, or the first whose score was not written, alone, with
/// those before it in one call and those after it in another; when that leads nowhere, those that were not
/// written apart from those that were; then halves. As long as nothing has been scored, what is left behind a
/// guilty one is tried in halves too: three guilty ones in a row do not hide the healthy ones.
/// Units are rows, or the groups of rows that belong together.
struct WorkerLadder: Sendable {
    enum Stage: Equatable, Sendable {
        case first
        /// The same once more, in a fresh worker.
        case again
        /// A part of a call that has failed twice.
        case search
    }

    struct Piece: Equatable, Sendable {
        var units: [Int]
        var stage = Stage.first
        /// Units that wait for the verdict on this one suspect.
        var rest: [Int] = []
        /// The suspects were guilty so far.
        var isOnTrack = true
    }

    private(set) var waiting: [Piece] = []
    private var isAnyScored = false

    var isEmpty: Bool { waiting.isEmpty }

    /// What is tried next: retries before searches, large parts before small ones, so that healthy rows
    /// get their scores before anybody is found guilty.
    mutating func next() -> Piece? {
        var best: Int?
        for (index, piece) in waiting.enumerated() {
            guard let chosen = best.map({ waiting[$0] }) else {
                best = index
                continue
            }
            let isSooner = piece.stage != .search && chosen.stage == .search
            let isLarger = piece.stage == chosen.stage && piece.units.count > chosen.units.count
            if isSooner || isLarger { best = index }
        }
        return best.map { waiting.remove(at: $0) }
    }

    /// Puts a piece back that was not tried.
    mutating func putBack(_ piece: Piece) { waiting.insert(piece, at: 0) }

    /// The units of a piece have their scores.
    mutating func succeeded(_ piece: Piece) {
        isAnyScored = true
        guard !piece.rest.isEmpty else { return }
        waiting.append(Piece(units: piece.rest, stage: .search, isOnTrack: false))
    }

    /// A call has failed.
    ///
    /// - Parameters:
    ///   - suspect: the unit that is looked at first.
    ///   - unwritten: units without a score.
    ///   - mayRetry: a fresh worker may do better.
    /// - Returns: the guilty unit, when it is known.
    mutating func failed(
        _ piece: Piece, suspect: Int?, unwritten: Set<Int>, mayRetry: Bool
    ) -> Int? {
        if piece.stage == .first, mayRetry {
            waiting.append(Piece(units: piece.units, stage: .again))
            return nil
        }
        if piece.units.count == 1, let guilty = piece.units.first {
            let half = isAnyScored ? 0 : piece.rest.count / 2
            for part in [piece.rest[..<half], piece.rest[half...]] where !part.isEmpty {
                waiting.append(
                    Piece(units: Array(part), stage: .search, isOnTrack: piece.isOnTrack))
            }
            return guilty
        }
        if piece.isOnTrack, let suspect, let at = piece.units.firstIndex(of: suspect) {
            if at > 0 {
                waiting.append(
                    Piece(units: Array(piece.units[..<at]), stage: .search, isOnTrack: false))
            }
            waiting.append(
                Piece(units: [suspect], stage: .search, rest: Array(piece.units[(at + 1)...])))
            return nil
        }
        var parts = [
            piece.units.filter(unwritten.contains), piece.units.filter { !unwritten.contains($0) },
        ]
        if parts.contains(where: \.isEmpty) {
            let half = piece.units.count / 2
            parts = [Array(piece.units[..<half]), Array(piece.units[half...])]
        }
        for part in parts {
            waiting.append(Piece(units: part, stage: .search, isOnTrack: false))
        }
        return nil
    }
}
