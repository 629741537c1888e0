import Testing

@testable import KeelCore

@Suite(.serialized) struct StageClockTests {
    @Test func theOuterStageCounts() {
        StageClock.start()
        defer { StageClock.stop() }
        let before = StageClock.read()
        let result = StageClock.measure(.head, flops: 8) {
            StageClock.measure(.products, flops: 100) { 7 }
        }
        #expect(result == 7)
        StageClock.measure(.products, flops: 2) {}
        guard let before, let after = StageClock.read() else {
            Issue.record("the clock is off")
            return
        }
        let sum = after - before
        #expect(sum[.head].calls == 1 && sum[.head].flops == 8)
        #expect(sum[.products].calls == 1 && sum[.products].flops == 2)
        #expect(sum.total.flops == 10)
        #expect(sum[.head].cpu >= 0 && sum.total.wall > 0)
    }

    @Test func aFailureEndsItsStage() {
        struct Failure: Error {}
        StageClock.start()
        defer { StageClock.stop() }
        #expect(throws: Failure.self) {
            try StageClock.measure(.data) { throw Failure() }
        }
        StageClock.measure(.optimizer) {}
        #expect(StageClock.read()?[.optimizer].calls == 1)
    }

    @Test func nobodyCountsUnlessAsked() {
        StageClock.stop()
        StageClock.measure(.data, flops: 5) {}
        #expect(StageClock.read() == nil)
    }
}
