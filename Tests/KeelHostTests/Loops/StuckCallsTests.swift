import KeelBridge
import KeelHost
import Testing

/// When a callback that does not come back is named, and when it is given up.
@Suite struct StuckCallsTests {
    private let call = ActiveCall(
        entry: 7, component: "objective \"dpo\"", path: "/a.so", callback: "loss", step: 3)
    private let other = ActiveCall(
        entry: 8, component: "objective \"dpo\"", path: "/a.so", callback: "loss", step: 3)

    /// What is found at each of the given moments, a second apart or as said.
    private func findings(
        _ stuck: inout StuckCalls, _ seconds: some Sequence<Double>, _ calls: [ActiveCall],
        isStopping: Bool = false
    ) -> [StuckCalls.Finding] {
        seconds.flatMap { stuck.look(calls, now: $0, isStopping: isStopping) }
    }

    private func seconds(_ from: Int, _ to: Int) -> [Double] { (from...to).map(Double.init) }

    @Test func aCallbackIsNamedAndThenGivenUp() {
        var stuck = StuckCalls(limit: 100, interval: 1)
        #expect(findings(&stuck, seconds(0, 9), [call]) == [])
        #expect(findings(&stuck, seconds(10, 12), [call]) == [.slow(call, seconds: 10)])
        #expect(
            findings(&stuck, seconds(13, 100), [call]) == [
                .slow(call, seconds: 30), .slow(call, seconds: 90), .stuck(call, seconds: 100),
            ])
    }

    @Test func whoComesBackStartsAgain() {
        var stuck = StuckCalls(limit: 20, interval: 1)
        #expect(findings(&stuck, seconds(0, 1), [call]) == [])
        #expect(findings(&stuck, seconds(2, 3), [other]) == [])
        #expect(findings(&stuck, seconds(4, 4), []) == [])
        #expect(findings(&stuck, seconds(5, 6), [other]) == [])
    }

    @Test func aStandstillOfTheWholeProcessDoesNotCount() {
        var stuck = StuckCalls(limit: 100, interval: 1)
        #expect(findings(&stuck, [0, 1, 5000, 5001], [call]) == [])
    }

    @Test func aRunThatIsToStopWaitsLess() {
        var stuck = StuckCalls(limit: 300, interval: 1)
        #expect(findings(&stuck, seconds(0, 10), [call]) == [])
        #expect(
            findings(&stuck, seconds(11, 11), [call], isStopping: true) == [
                .stuck(call, seconds: 11)
            ])
        var endless = StuckCalls(limit: nil, interval: 1)
        #expect(findings(&endless, seconds(0, 29), [call]) == [])
        #expect(findings(&endless, seconds(30, 31), [call]) == [.slow(call, seconds: 30)])
        #expect(
            findings(&endless, seconds(32, 32), [call], isStopping: true) == [
                .stuck(call, seconds: 32)
            ])
    }
}
