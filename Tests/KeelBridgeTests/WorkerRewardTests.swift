import CWorker
import Foundation
import Glibc
import KeelCore
import Testing

@testable import KeelBridge

/// What plugins do to their process, and what becomes of the rows.
@Suite(.serialized) struct WorkerRewardTests {
    private let good = ["one", "three", "", "fourteen", "x"]

    private func healthy(_ rows: [RewardRow]) throws -> [RewardScore] {
        try WorkerPlugins.inProcess("mischief").score(rows)
    }

    /// Rows with a bad one among good ones, which get what they get without it.
    private func expectOthersUnharmed(
        _ scores: [RewardScore], _ rows: [RewardRow], bad: Set<Int>,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let others = rows.indices.filter { !bad.contains($0) }
        let expected = try healthy(others.map { rows[$0] })
        #expect(
            others.map { scores[$0].value.bitPattern } == expected.map(\.value.bitPattern),
            sourceLocation: sourceLocation)
        #expect(!others.contains { scores[$0].isFailed }, sourceLocation: sourceLocation)
    }

    /// A misdeed, what is said of it, and which calls are made with how short a deadline.
    struct Misdeed: Sendable, CustomTestStringConvertible {
        var word: String
        var says: String
        var timeout = 20.0
        var memory: Int?

        var testDescription: String { word }
    }

    static let misdeeds = [
        Misdeed(word: "segv", says: "killed by signal 11 (segmentation fault)"),
        Misdeed(word: "abort", says: "killed by signal 6 (aborted)"),
        Misdeed(word: "exit", says: "exited with status 3"),
        Misdeed(word: "hang", says: "no answer within 0.4 s", timeout: 0.4),
        Misdeed(word: "spin", says: "no answer within 0.4 s", timeout: 0.4),
        Misdeed(word: "babble", says: "no answer within 0.4 s", timeout: 0.4),
        Misdeed(word: "beside", says: "wrote outside of the memory for its results"),
        Misdeed(word: "before", says: "wrote outside of the memory for its results"),
        Misdeed(word: "input", says: "killed by signal 11 (segmentation fault)"),
        Misdeed(word: "eat", says: "MiB of memory, allowed are 300 MiB", memory: 300),
        Misdeed(word: "orphan", says: "exited with status 0"),
        Misdeed(word: "fail", says: "I will not"),
        Misdeed(word: "infinite", says: "gave inf to row 103"),
    ]

    private func options(_ misdeed: Misdeed, _ policy: WorkerOptions.Policy) -> WorkerOptions {
        WorkerOptions(
            timeout: misdeed.timeout, maxRSSMegabytes: misdeed.memory, onError: policy)
    }

    private func rows(_ misdeed: Misdeed) -> [RewardRow] {
        WorkerPlugins.rows(["one", "three", "", misdeed.word, "fourteen", "x"])
    }

    @Test(arguments: misdeeds)
    func theRunStopsAndNamesRowAndCause(_ misdeed: Misdeed) throws {
        let reward = try WorkerPlugins.reward(options: options(misdeed, .stop))
        let error = #expect(throws: KeelError.self) { try reward.score(rows(misdeed)) }
        let text = "\(try #require(error))"
        #expect(text.contains("reward \"my_mischief\" (mischief)"), "\(text)")
        #expect(text.contains(misdeed.says), "\(text)")
        #expect(text.contains("mischief.so, score, step 0, row 103"), "\(text)")
        #expect(error?.code == .failed)
        // The reward is as good as before.
        let after = WorkerPlugins.rows(good)
        #expect(try reward.score(after).bits == healthy(after).bits)
    }

    @Test(arguments: misdeeds)
    func theRowIsDroppedAndCounted(_ misdeed: Misdeed) throws {
        let reward = try WorkerPlugins.reward(options: options(misdeed, .dropRow))
        let rows = rows(misdeed)
        let scores = try reward.score(rows)
        #expect(scores[3].value.isNaN && scores[3].isFailed)
        try expectOthersUnharmed(scores, rows, bad: [3])
        let report = reward.takeReport()
        #expect(report.skipped == 1)
        #expect((report.timeouts > 0) == misdeed.says.contains("no answer"))
        #expect((report.errors > 0) == (report.timeouts == 0))
        #expect(reward.takeReport() == RewardReport())
    }

    @Test func aConstantTakesTheScoresPlace() throws {
        let rows = WorkerPlugins.rows(["a", "segv", "bcd"])
        let reward = try WorkerPlugins.reward(
            options: WorkerOptions(timeout: 20, onError: .constant(-2)))
        let scores = try reward.score(rows)
        #expect(scores[1].value == -2 && scores[1].isFailed)
        try expectOthersUnharmed(scores, rows, bad: [1])
    }

    @Test func manyGuiltyRowsAmongMany() throws {
        let bad: Set<Int> = [0, 5, 6, 7, 40, 99]
        let rows = WorkerPlugins.rows(
            (0..<100).map { bad.contains($0) ? "segv" : "row number \($0)" })
        for workers in [1, 3] {
            let reward = try WorkerPlugins.reward(
                options: WorkerOptions(workers: workers, timeout: 20, onError: .dropRow))
            let scores = try reward.score(rows)
            #expect(Set(scores.indices.filter { scores[$0].isFailed }) == bad)
            try expectOthersUnharmed(scores, rows, bad: bad)
            #expect(reward.takeReport().skipped == bad.count)
        }
    }

    /// Zeros written before the crash are no scores.
    @Test func whatWasWrittenBeforeACrashIsNotBelieved() throws {
        let rows = WorkerPlugins.rows(["a", "bb", "segv", "dddd"])
        let reward = try WorkerPlugins.reward(
            "mischief", ["fill": true], options: WorkerOptions(timeout: 20, onError: .dropRow))
        let scores = try reward.score(rows)
        #expect(scores[2].isFailed && scores[2].value.isNaN)
        try expectOthersUnharmed(scores, rows, bad: [2])
    }

    @Test func aCrashThatDoesNotComeBackCostsNothing() throws {
        let path = WorkerPlugins.freshPath()
        let rows = WorkerPlugins.rows(["a", "once", "ccc"])
        let reward = try WorkerPlugins.reward("mischief", ["once": .string(path)])
        let scores = try reward.score(rows)
        #expect(scores.bits == (try healthy(rows).bits))
        let report = reward.takeReport()
        #expect(report.errors == 1 && report.restarts == 1 && report.skipped == 0)
    }

    /// The healthy rows of one call are scored before anything is said about all of them.
    @Test(arguments: [[6, 7, 8], [0, 1, 2], Array(0..<10), [0, 30, 31]])
    func guiltyRowsInARowHideNoHealthyOnes(_ bad: [Int]) throws {
        let rows = WorkerPlugins.rows((0..<32).map { bad.contains($0) ? "segv" : "row \($0)" })
        for policy in [WorkerOptions.Policy.dropRow, .constant(-1)] {
            let reward = try WorkerPlugins.reward(
                options: WorkerOptions(timeout: 20, onError: policy))
            let scores = try reward.score(rows)
            #expect(scores.indices.filter { scores[$0].isFailed } == bad)
            try expectOthersUnharmed(scores, rows, bad: Set(bad))
        }
    }

    @Test func whereEveryRowFailsTheRunStops() throws {
        let rows = WorkerPlugins.rows([String](repeating: "segv", count: 12))
        let reward = try WorkerPlugins.reward(
            options: WorkerOptions(timeout: 20, onError: .dropRow))
        let text = message { _ = try reward.score(rows) }
        #expect(text.contains("3 rows failed and none was scored; the last: "), "\(text)")
        #expect(text.contains("killed by signal 11"), "\(text)")
    }

    @Test func lastWordsAreInTheReport() throws {
        let reward = try WorkerPlugins.reward()
        let text = message { _ = try reward.score(WorkerPlugins.rows(["a", "say"])) }
        #expect(text.contains("row 101: killed by signal 6 (aborted)"), "\(text)")
        #expect(text.contains("\n  it wrote: to stderr\n"), "\(text)")
    }

    @Test func aHangEndsAtItsDeadline() throws {
        let reward = try WorkerPlugins.reward(options: WorkerOptions(timeout: 1, onError: .dropRow))
        _ = try reward.score(WorkerPlugins.rows(["a"]))
        let start = Clock.now()
        let scores = try reward.score(WorkerPlugins.rows(["hang"]))
        let seconds = Clock.now() - start
        // The call and the same call in a fresh worker.
        #expect(scores[0].isFailed)
        #expect(seconds >= 2 && seconds < 3, "\(seconds) s")
        #expect(reward.takeReport().timeouts == 2)
    }

    @Test func childrenOfAWorkerEndWithIt() throws {
        let path = WorkerPlugins.freshPath()
        let reward = try WorkerPlugins.reward(
            "mischief", ["once": .string(path)],
            options: WorkerOptions(timeout: 20, onError: .dropRow))
        let scores = try reward.score(WorkerPlugins.rows(["a", "children"]))
        #expect(scores[1].isFailed)
        usleep(1_200_000)
        #expect(!Files.exists(path), "a child of the worker was left alive")
    }

    @Test func rowsAreScoredWhileTheCallerDoesOtherThings() throws {
        let reward = try WorkerPlugins.reward(options: WorkerOptions(workers: 2, timeout: 20))
        let rows = WorkerPlugins.rows([String](repeating: "slow", count: 10))
        try reward.submit(rows, context: CallContext())
        usleep(900_000)
        let start = Clock.now()
        #expect(try reward.collect().count == 10)
        // 10 rows of 60 ms by two workers: 0.3 s, while the caller slept.
        #expect(Clock.now() - start < 0.3, "\(Clock.now() - start) s")
    }

    /// The thread that looks after a worker sleeps while the worker works, whoever rings meanwhile.
    @Test func aRungBellDoesNotKeepTheThreadBusy() throws {
        let component = try WorkerPlugins.component("mischief")
        let setup = WorkerSetup(
            component: component, name: "m", seed: 0,
            parameters: try component.validate(params: [:]))
        let process = try WorkerProcess()
        _ = try setup.start(process, context: CallContext(), watch: .seconds(20))
        let bell = kw_event()
        defer { close(bell) }
        var one: UInt64 = 1
        #expect(write(bell, &one, 8) == 8)
        var looks = 0
        var watch = WorkerProcess.Watch.seconds(20)
        watch.wake = bell
        watch.isInterrupted = {
            looks += 1
            return false
        }
        _ = try process.ask(
            Int(KW_CALL), callback: Int(KW_SCORE), outputSize: 20, watch: watch
        ) {
            try $0.context(CallContext())
            try $0.batch(rewarding: WorkerPlugins.rows([String](repeating: "slow", count: 5)))
        }
        // 0.3 s in ticks of 0.02 s.
        #expect(looks < 60, "\(looks)")
    }

    @Test func slowRowsAreNamed() throws {
        let reward = try WorkerPlugins.reward()
        let scores = try reward.score(WorkerPlugins.rows(["a", "b", "slow", "d", "e", "f", "g"]))
        let slowest = reward.takeReport().slowest
        #expect(slowest.count == RewardReport.kept)
        #expect(slowest[0].id == 102 && slowest[0].milliseconds >= 60)
        #expect(slowest[1].milliseconds < 30, "\(slowest)")
        #expect(scores[2].milliseconds >= 60 && scores[0].milliseconds < 30)
    }

    @Test func aStoppingRunIsSeenByThePlugin() throws {
        let reward = try WorkerPlugins.reward()
        let begin = Clock.now()
        let context = CallContext(isCancelled: { Clock.now() - begin > 0.3 })
        let scores = try reward.score(WorkerPlugins.rows(["cancel", "b"]), context: context)
        #expect(scores.count == 2 && scores[0].value >= 6)
        #expect(Clock.now() - begin < 5)
    }

    @Test func workersAreRenewedAfterSoManyCalls() throws {
        let reward = try WorkerPlugins.reward(
            options: WorkerOptions(timeout: 20, recycleAfter: 2))
        for _ in 0..<7 {
            let rows = WorkerPlugins.rows(good)
            #expect(try reward.score(rows).bits == healthy(rows).bits)
        }
        #expect(reward.takeReport().restarts == 0)
    }

    @Test func anEmptyCollectionIsEmpty() throws {
        let reward = try WorkerPlugins.reward()
        #expect(try reward.collect().isEmpty)
        try reward.submit([], context: CallContext())
        #expect(try reward.collect().isEmpty)
    }

    @Test func aFileThatChangesDuringTheRunIsNotRun() throws {
        let source = try WorkerPlugins.mischief.get()
        let copy = "\(Zoo.folder)/changing-\(UUID().uuidString).so"
        try FileManager.default.copyItem(atPath: source, toPath: copy)
        let component = try Zoo.catalog.find("\(copy)#mischief", kind: .reward)
        let reward = try WorkerReward(
            component, parameters: try component.validate(params: [:]),
            options: WorkerOptions(timeout: 20, onError: .dropRow))
        try FileManager.default.removeItem(atPath: copy)
        var bytes = try Files.read(source)
        bytes += [0]
        try AtomicWrite.file(copy, String(decoding: [UInt8(ascii: "x")], as: UTF8.self))
        let text = message { _ = try reward.score(WorkerPlugins.rows(["segv", "b"])) }
        #expect(text.contains("its file has changed since the run began"), "\(text)")
    }
}

/// Components that are more than a function of one row.
struct WorkerComponentTests {
    @Test(arguments: [1, 3])
    func coupledRowsAreNeverSplit(_ workers: Int) throws {
        // Groups of 4, their rows far apart.
        let rows = WorkerPlugins.rows((0..<40).map { "r\($0)" }, group: { $0 % 10 })
        let reward = try WorkerPlugins.reward(
            "coupled", options: WorkerOptions(workers: workers, timeout: 20))
        for row in rows { try reward.submit([row], context: CallContext()) }
        #expect(try reward.collect().map(\.value) == [Float](repeating: 4, count: 40))
        let facts = CallContext(facts: ["num_generations": 4])
        for row in rows { try reward.submit([row], context: facts) }
        #expect(try reward.collect().map(\.value) == [Float](repeating: 4, count: 40))
    }

    @Test func aGuiltyGroupGoesAsAWhole() throws {
        let rows = WorkerPlugins.rows(
            (0..<40).map { $0 == 17 ? "segv" : "r\($0)" }, group: { $0 % 10 })
        let reward = try WorkerPlugins.reward(
            "coupled", options: WorkerOptions(timeout: 20, onError: .dropRow))
        let scores = try reward.score(rows)
        for (at, score) in scores.enumerated() {
            #expect(score.isFailed == (at % 10 == 7))
            #expect(at % 10 == 7 ? score.value.isNaN : score.value == 4)
        }
        let stopping = try WorkerPlugins.reward("coupled")
        #expect(
            message { _ = try stopping.score(rows) }.contains("rows 107, 117, 127, 137"))
    }

    @Test func stateIsThatOfOneRunInOrder() throws {
        let path = WorkerPlugins.freshPath()
        let reward = try WorkerPlugins.reward(
            "sum", ["once": .string(path)], options: WorkerOptions(workers: 4, timeout: 20))
        #expect(try reward.score(WorkerPlugins.rows(["a", "bb"])).map(\.value) == [1, 3])
        // A crash in the middle: the fresh worker begins with the state before this batch.
        #expect(
            try reward.score(WorkerPlugins.rows(["ccc", "once", "d"])).map(\.value) == [6, 10, 11])
        #expect(reward.takeReport().restarts == 1)
        let state = try #require(try reward.save())
        #expect(state.version == 5)
        #expect(state == (try reward.save()))
        let second = try WorkerPlugins.reward("sum")
        try second.load(state)
        #expect(try second.score(WorkerPlugins.rows(["e"])).map(\.value) == [12])
        let inside = try WorkerPlugins.inProcess("sum")
        try inside.load(state)
        #expect(try inside.score(WorkerPlugins.rows(["e"])).map(\.value) == [12])
        #expect(try inside.save() == second.save())
        #expect(
            message { try second.load(Instance.State(version: 4, bytes: state.bytes)) }.contains(
                "reward \"my_sum\" (sum): not a state of mine"))
        #expect(
            message {
                try WorkerPlugins.reward().load(state)
            }.contains("has no state, but the checkpoint holds one of 8 bytes"))
        #expect(try WorkerPlugins.reward().save() == nil)
    }

    /// What a worker did since its state was last had is done once more.
    @Test(arguments: ["hang", "segv", "fail"])
    func aStateThatCannotBeHadOnceIsNotLost(_ misdeed: String) throws {
        let reward = try WorkerPlugins.reward(
            "sum", ["once": .string(WorkerPlugins.freshPath()), "save": .string(misdeed)],
            options: WorkerOptions(timeout: misdeed == "hang" ? 0.5 : 20))
        #expect(try reward.score(WorkerPlugins.rows(["a", "bb"])).map(\.value) == [1, 3])
        #expect(try reward.score(WorkerPlugins.rows(["mark", "b"])).map(\.value) == [7, 8])
        #expect(try reward.score(WorkerPlugins.rows(["a"])).map(\.value) == [9])
        let report = reward.takeReport()
        #expect(report.restarts == 1 && report.errors == 1 && report.skipped == 0)
        let after = try #require(try reward.save())
        let inside = try WorkerPlugins.inProcess("sum")
        _ = try inside.score(WorkerPlugins.rows(["a", "bb", "mark", "b", "a"]))
        #expect(try inside.save() == after)
    }

    @Test(arguments: [WorkerOptions.Policy.stop, .dropRow])
    func aStateThatCanNeverBeHadEndsTheRun(_ policy: WorkerOptions.Policy) throws {
        let reward = try WorkerPlugins.reward(
            "sum", ["save": "segv"], options: WorkerOptions(timeout: 20, onError: policy))
        _ = try reward.score(WorkerPlugins.rows(["a"]))
        let text = message { _ = try reward.score(WorkerPlugins.rows(["mark"])) }
        #expect(text.contains("(sum): save: killed by signal 11 (segmentation fault)"), "\(text)")
    }

    /// A worker that is replaced on purpose hands its state over, however long that is.
    @Test(arguments: [0, 1_100_000])
    func aRecycledWorkersStateGoesOn(_ padding: Int) throws {
        let reward = try WorkerPlugins.reward(
            "sum", ["big": JSON(padding)], options: WorkerOptions(timeout: 20, recycleAfter: 2))
        for call in 1...5 {
            #expect(try reward.score(WorkerPlugins.rows(["a"])).map(\.value) == [Float(call)])
            #expect(try reward.save()?.bytes.count == padding + 8)
        }
        #expect(reward.takeReport().restarts == 0)
    }

    @Test func aStateTooLongToKeepEndsWithItsWorker() throws {
        let path = WorkerPlugins.freshPath()
        let reward = try WorkerPlugins.reward(
            "sum", ["once": .string(path), "big": 1_100_000])
        #expect(try reward.score(WorkerPlugins.rows(["a"])).map(\.value) == [1])
        #expect(try reward.save()?.bytes.count == 1_100_008)
        let text = message { _ = try reward.score(WorkerPlugins.rows(["once"])) }
        #expect(
            text.contains("its state of 1100008 bytes is too long to be kept after every batch"),
            "\(text)")
        #expect(text.contains("fix: resume from the last checkpoint"))
    }

    @Test func createRefusesOrCrashes() throws {
        let refusal = message { _ = try WorkerPlugins.reward("sum", ["refuse": 1]) }
        #expect(refusal == message { _ = try WorkerPlugins.inProcess("sum", ["refuse": 1]) })
        #expect(refusal.contains("refuse is on") && refusal.contains(", create"))
        let crash = message { _ = try WorkerPlugins.reward("sum", ["refuse": 2]) }
        #expect(crash.contains("create: killed by signal 11 (segmentation fault)"), "\(crash)")
    }

    @Test func questionsForTheJudge() throws {
        let rows = WorkerPlugins.rows(["why", "", "how"])
        let reward = try WorkerPlugins.reward("asker")
        let expected = try WorkerPlugins.inProcess("asker").ask(rows, context: CallContext())
        #expect(try reward.ask(rows, context: CallContext()) == expected)
        #expect(expected == [Array("why".utf8), nil, Array("how".utf8)])
        var answered = rows
        answered[0].reply = Array("because".utf8)
        #expect(try reward.score(answered).map { $0.value.description } == ["7.0", "nan", "nan"])
        let bad = WorkerPlugins.rows(["why", "segv", "how"])
        #expect(
            message { _ = try reward.ask(bad, context: CallContext()) }.contains(
                "row 101: killed by signal 11"))
        let dropping = try WorkerPlugins.reward(
            "asker", options: WorkerOptions(timeout: 20, onError: .dropRow))
        #expect(
            try dropping.ask(bad, context: CallContext()) == [
                Array("why".utf8), nil, Array("how".utf8),
            ])
        #expect(dropping.takeReport().skipped == 1)
    }
}
