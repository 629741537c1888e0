import KeelCore
import KeelTestSupport
import Testing

@testable import KeelBridge
@testable import KeelHost

/// Rows reach rewards while a rollout is still being made, and scores come back in its order.
@Suite struct ScoringTests {
    /// A reward that notes what it is given and scores a row by its response's bytes.
    private final class Note: RewardRunner {
        let name = "note"
        let component: Component
        var calls: [[Int]] = []
        private var waiting: [RewardRow] = []
        var columns: [String: Column] { [:] }
        var failing: Set<Int> = []

        init(flags: ComponentFlags = [], callbacks: [String] = []) {
            component = Component(
                kind: .reward, name: "note", help: "", needs: [], gives: [], heads: [],
                parameters: [], phases: [], flags: flags, sequenceBytes: 0, stateVersion: 0,
                callbacks: callbacks, pluginID: "test", pluginVersion: "1", api: 0, path: "/note",
                sha256: "")
        }

        func ask(_ rows: [RewardRow], context: CallContext) -> [[UInt8]?] { [] }
        func submit(_ rows: [RewardRow], context: CallContext) {
            waiting += rows
            calls.append(rows.map { $0.response.count })
        }
        func collect() -> [RewardScore] {
            defer { waiting = [] }
            return waiting.map { row in
                let isFailed = failing.contains(row.response.count)
                return RewardScore(
                    value: isFailed ? .nan : Float(row.response.count), milliseconds: 1,
                    isFailed: isFailed)
            }
        }
        func takeMetrics() -> MetricSums { MetricSums() }
        func takeReport() -> RewardReport { RewardReport() }
        func save() -> Instance.State? { nil }
        func load(_ state: Instance.State) {}
    }

    /// Adds eight rows, two groups of four, as they finish; the response of row i has i bytes.
    private func score(_ runner: Note, finishing order: [[Int]]) throws -> RewardSet.Scored {
        let rewards = RewardSet(
            runners: [runner],
            composition: RewardComposition(
                parts: [.init(name: "note", weight: 1, clip: nil)], missing: .stop))
        let scoring = Scoring(rewards, count: 8, groupSize: 4, context: CallContext())
        for pass in order {
            for index in pass {
                scoring.add(
                    index,
                    RewardRow(
                        id: UInt64(index / 4), prompt: [],
                        response: [UInt8](repeating: 65, count: index), group: Int32(index / 4)))
            }
            try scoring.flush()
        }
        return try scoring.finish()
    }

    private static let order = [[6, 1], [], [0, 7, 5], [4], [2], [3]]

    @Test(arguments: [
        // Whatever has finished.
        (false, false, [[1, 6], [0, 5, 7], [4], [2], [3]]),
        // Whole groups.
        (true, false, [[4, 5, 6, 7], [0, 1, 2, 3]]),
        // With state: in the order of the rollout.
        (false, true, [[0, 1], [2], [3, 4, 5, 6, 7]]),
        (true, true, [[0, 1, 2, 3, 4, 5, 6, 7]]),
    ])
    func rowsAreHandedOverAsTheyFinish(isCoupled: Bool, hasState: Bool, calls: [[Int]]) throws {
        let note = Note(flags: isCoupled ? .coupled : [], callbacks: hasState ? ["save"] : [])
        let scored = try score(note, finishing: ScoringTests.order)
        #expect(note.calls == calls)
        #expect(scored.rewards == [0, 1, 2, 3, 4, 5, 6, 7])
        #expect(scored.scores == [[0, 1, 2, 3, 4, 5, 6, 7]])
    }

    /// A row that failed is dropped though nothing else is allowed to be missing, and counts for nothing.
    @Test func aFailedRowIsDropped() throws {
        let note = Note()
        note.failing = [2, 5]
        let scored = try score(note, finishing: ScoringTests.order)
        #expect(scored.rewards.indices.filter { scored.rewards[$0].isNaN } == [2, 5])
        let metrics = scored.metrics(group: [0, 0, 0, 0, 1, 1, 1, 1])
        #expect(metrics["reward"] == (0 + 1 + 3 + 4 + 6 + 7) / 6.0)
    }
}
