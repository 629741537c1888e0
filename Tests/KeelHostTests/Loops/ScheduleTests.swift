import Testing

@testable import KeelHost

@Suite struct ScheduleTests {
    @Test func linearIsTransformersOwn() {
        let schedule = Schedule(kind: .linear, peak: 1, warmupSteps: 4, totalSteps: 12)
        let expected = [0, 0.25, 0.5, 0.75, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0]
        for (step, rate) in expected.enumerated() { #expect(schedule.rate(at: step) == rate) }
    }

    @Test func cosineEndsAtZeroAndIsHalfAtHalf() {
        let schedule = Schedule(kind: .cosine, peak: 2, warmupSteps: 0, totalSteps: 10)
        #expect(schedule.rate(at: 0) == 2)
        #expect(abs(schedule.rate(at: 5) - 1) < 1e-15)
        #expect(schedule.rate(at: 10) == 0)
    }

    @Test func constantKnowsNoWarmup() {
        #expect(Schedule(kind: .constant, peak: 3, warmupSteps: 5, totalSteps: 10).rate(at: 0) == 3)
        let warm = Schedule(kind: .constantWithWarmup, peak: 3, warmupSteps: 3, totalSteps: 10)
        #expect(warm.rate(at: 1) == 1)
        #expect(warm.rate(at: 9) == 3)
    }
}
