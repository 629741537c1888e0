import KeelCore
import Testing

@testable import KeelBridge

struct WorkerLadderTests {
    /// Plays the ladder against a plugin that fails whenever one of these units is in a call.
    ///
    /// - Parameter inOrder: it works at one unit after the other and writes scores as it goes.
    /// - Returns: guilty units, units that were scored, calls that failed.
    private func play(
        _ count: Int, guilty: Set<Int>, inOrder: Bool, mayRetry: Bool = true
    ) -> (guilty: [Int], scored: [Int], failures: Int) {
        var ladder = WorkerLadder()
        ladder.putBack(WorkerLadder.Piece(units: Array(0..<count)))
        var found: [Int] = []
        var scored: [Int] = []
        var failures = 0
        while let piece = ladder.next() {
            guard let first = piece.units.first(where: guilty.contains) else {
                scored += piece.units
                ladder.succeeded(piece)
                continue
            }
            failures += 1
            #expect(failures < 10 * count + 10, "the ladder does not end")
            let unwritten = inOrder ? piece.units.filter { $0 >= first } : piece.units
            let suspect = inOrder ? first : piece.units.first
            if let unit = ladder.failed(
                piece, suspect: suspect, unwritten: Set(unwritten), mayRetry: mayRetry)
            {
                found.append(unit)
            }
        }
        return (found.sorted(), scored.sorted(), failures)
    }

    @Test(arguments: [true, false], [[], [0], [7], [63], [3, 4, 5], [0, 63], Array(0..<64)])
    func theGuiltyAreFoundAndTheOthersScored(_ inOrder: Bool, _ guilty: [Int]) {
        let result = play(64, guilty: Set(guilty), inOrder: inOrder)
        #expect(result.guilty == guilty)
        #expect(result.scored == (0..<64).filter { !guilty.contains($0) })
    }

    @Test func oneHangInAnOrderlyPluginCostsThreeDeadlines() {
        // The call, the same call in a fresh worker, the suspect alone.
        #expect(play(256, guilty: [100], inOrder: true).failures == 3)
        #expect(play(256, guilty: [100], inOrder: true, mayRetry: false).failures == 2)
    }

    @Test func aPluginThatSaysNothingIsHalved() {
        let failures = play(256, guilty: [200], inOrder: false).failures
        #expect(failures <= 2 + 1 + 8, "\(failures)")
    }

    @Test func aFirstFailureIsTriedAgainAsItWas() {
        var ladder = WorkerLadder()
        let piece = WorkerLadder.Piece(units: [4, 5])
        #expect(ladder.failed(piece, suspect: 4, unwritten: [4, 5], mayRetry: true) == nil)
        #expect(ladder.next() == WorkerLadder.Piece(units: [4, 5], stage: .again))
    }
}
