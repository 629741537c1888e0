import Foundation
import KeelCore
import Synchronization
import Testing

@testable import KeelBridge

/// The table of callbacks under way.
///
/// One at a time: holding the calls holds those of the whole process.
@Suite(.serialized) struct ActiveCallsTests {
    private func mine(_ names: String) -> [ActiveCall] {
        ActiveCalls.list.filter { $0.component == names }
    }

    @Test func callsAreSeenFromEnterToLeave() {
        let names = ActiveCalls.Names(component: "reward \"seen\"", path: "/seen.so")
        let outer = ActiveCalls.enter(names, "score", step: 4)
        let inner = ActiveCalls.enter(names, "save", step: nil)
        let calls = mine("reward \"seen\"")
        #expect(calls.map(\.callback).sorted() == ["save", "score"])
        #expect(calls.map(\.place).sorted() == ["/seen.so, save", "/seen.so, score, step 4"])
        #expect(Set(calls.map(\.entry)).count == 2)
        ActiveCalls.leave(inner)
        #expect(mine("reward \"seen\"").map(\.callback) == ["score"])
        ActiveCalls.leave(outer)
        #expect(mine("reward \"seen\"") == [])
    }

    @Test func moreCallsThanPlacesAreNotSeenAndDoNoHarm() {
        let names = ActiveCalls.Names(component: "reward \"many\"", path: "/many.so")
        let places = (0..<100).map { ActiveCalls.enter(names, "score", step: $0) }
        #expect(places.contains(-1))
        #expect(mine("reward \"many\"").count == places.count { $0 >= 0 })
        for place in places { ActiveCalls.leave(place) }
        #expect(mine("reward \"many\"") == [])
    }

    /// Readers never see the parts of two calls as one.
    @Test func readersSeeWholeCalls() {
        let isDone = Atomic(false)
        let names = (0..<2).map {
            ActiveCalls.Names(component: "whole \($0)", path: "/whole\($0).so")
        }
        BackgroundThread.start {
            var step = 0
            while !isDone.load(ordering: .acquiring) {
                let place = ActiveCalls.enter(names[step % 2], "score", step: step)
                // Long enough to be seen now and then, however busy the machine is.
                if step % 7 == 0 { usleep(50) }
                ActiveCalls.leave(place)
                step += 1
            }
        }
        defer { isDone.store(true, ordering: .releasing) }
        var seen = 0
        let begin = Clock.now()
        while seen < 200, Clock.now() - begin < 60 {
            for call in ActiveCalls.list where call.component.hasPrefix("whole") {
                let number = call.component.dropFirst("whole ".count)
                #expect(call.path == "/whole\(number).so" && (call.step ?? -1) % 2 == Int(number))
                seen += 1
            }
        }
        #expect(seen > 0)
    }

    @Test func aCallThatHasReturnedCannotBeHeld() {
        let names = ActiveCalls.Names(component: "reward \"gone\"", path: "/gone.so")
        let place = ActiveCalls.enter(names, "score", step: nil)
        let call = mine("reward \"gone\"")[0]
        ActiveCalls.leave(place)
        #expect(!ActiveCalls.hold(call))
        // And nobody is held: this returns.
        ActiveCalls.leave(ActiveCalls.enter(names, "score", step: nil))
    }
}
