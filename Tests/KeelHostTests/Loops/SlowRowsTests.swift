import KeelBridge
import Testing

@testable import KeelHost

@Suite struct SlowRowsTests {
    private func report(_ rows: [(UInt64, Double)]) -> RewardReport {
        var report = RewardReport()
        for (id, milliseconds) in rows { report.note(id, milliseconds: milliseconds) }
        return report
    }

    @Test func rowsFarBeyondTheMedianAreNamed() {
        let slow = SlowRows()
        let times: [(UInt64, Double)] = [(4, 3), (7, 640), (9, 2), (12, 830), (13, 3)]
        let lines = { (now: Double) in
            slow.lines(
                names: ["judge"], reports: [report(times)], milliseconds: [times.map(\.1)],
                now: now)
        }
        #expect(
            lines(0) == [
                "reward \"judge\": row 12 took 830 ms, row 7 took 640 ms; half of the rows take 3 ms or less"
            ])
        #expect(lines(59) == [])
        #expect(lines(60).count == 1)
    }

    @Test(arguments: [
        // Slow, but all of them.
        [(1, 400), (2, 500), (3, 900)],
        // Far beyond the others, but quick.
        [(1, 1), (2, 1), (3, 99)],
        [],
    ])
    func othersAreNot(times: [(UInt64, Double)]) {
        let lines = SlowRows().lines(
            names: ["a"], reports: [report(times)], milliseconds: [times.map(\.1)], now: 0)
        #expect(lines == [])
    }
}
