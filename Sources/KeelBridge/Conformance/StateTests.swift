import CKeel
import KeelCore

/// Components with `save` and `load`: a resumed run equals an uninterrupted one.
extension ConformanceTest {
    static let stateTests: [ConformanceTest] = [
        state(
            "future", "After save, a new instance and load, the future is the same, bit for bit.",
            run: testFuture),
        state(
            "saved_twice", "Saving changes nothing: twice gives the same bytes.", after: ["future"],
            run: testSavedTwice),
        state(
            "damaged", "A state that is empty or cut short is refused; any bytes are survived.",
            run: testDamaged),
        state(
            "unaligned", "A state is read wherever it lies, to its last byte and no further.",
            after: ["future"], run: testUnaligned),
    ]

    private static func state(
        _ name: String, _ help: String, after: [String] = ["runs"],
        run: @escaping @Sendable (Trial) throws -> Void
    ) -> ConformanceTest {
        ConformanceTest(
            .state, name, help, kinds: everyKind, after: after,
            skip: { $0.hasCallback("save") ? nil : "it has no state" }, run: run)
    }

    private static func saved(_ rig: any Rig, _ trial: Trial) throws -> Instance.State {
        trial.at("save")
        guard let state = try rig.instance.save() else {
            throw Finding.fail("there is no `save`")
        }
        return state
    }

    /// An instance with a past.
    private static func aged(_ trial: Trial, rounds: Int = 3) throws -> any Rig {
        let rig = try trial.rig()
        for round in 0..<rounds { _ = try rig.work(round) }
        return rig
    }

    private static func testFuture(_ trial: Trial) throws {
        for rounds in [0, 1, 4] {
            let first = try aged(trial, rounds: rounds)
            let state = try saved(first, trial)
            let second = try trial.rig()
            trial.at("load, \(state.bytes.count) bytes")
            try second.instance.load(state)
            for round in rounds..<rounds + 4 {
                guard try first.work(round) != second.work(round) else { continue }
                throw Finding.fail(
                    "after \(rounds) calls, save and load, call \(round - rounds + 1) gives something else than without",
                    fix: "save everything that later calls depend on")
            }
        }
    }

    private static func testSavedTwice(_ trial: Trial) throws {
        let rig = try aged(trial)
        let first = try saved(rig, trial)
        let again = try saved(rig, trial)
        let restored = try trial.rig()
        try restored.instance.load(first)
        let third = try saved(restored, trial)
        if first != again {
            throw Finding.fail(
                "saving twice gives different bytes", fix: "`save` must not change the instance")
        }
        if first != third {
            throw Finding.warn(
                "a restored instance saves other bytes",
                fix: "write maps in a fixed order, so that equal states have equal bytes")
        }
    }

    private static func testDamaged(_ trial: Trial) throws {
        let state = try saved(aged(trial), trial)
        let whole = state.bytes
        var cuts = [[UInt8]]()
        if !whole.isEmpty {
            cuts = [[], Array(whole.dropLast()), Array(whole.prefix(whole.count / 2))]
        }
        for bytes in cuts {
            let rig = try trial.rig()
            trial.at("load, \(bytes.count) of \(whole.count) bytes")
            do {
                try rig.instance.load(Instance.State(version: state.version, bytes: bytes))
            } catch let error as KeelError {
                try expectText(error, "a state")
                continue
            }
            throw Finding.fail(
                "it accepts \(bytes.count) of the \(whole.count) bytes of its state",
                fix: "check the length before reading, and return KEEL_E_STATE")
        }
        for count in [1, 7, whole.count, whole.count + 1, 4096] {
            let noise = (0..<count).map { _ in UInt8(trial.dice.below(256)) }
            let rig = try trial.rig()
            trial.at("load, \(count) random bytes")
            let state = Instance.State(version: state.version, bytes: noise)
            guard (try? rig.instance.load(state)) != nil else { continue }
            trial.at("work after \(count) random bytes")
            _ = try? rig.work(0)
        }
    }

    private static func testUnaligned(_ trial: Trial) throws {
        let first = try aged(trial)
        let state = try saved(first, trial)
        guard let load = first.instance.raw.load else { return }
        let expected = try first.work(9)
        for shift in 0..<4 {
            let rig = try trial.rig()
            let call = Call(
                rig.instance, .load, batch: ColumnBatch(rows: 0), context: RewardRig.context())
            trial.at("load, bytes at the end of a page, \(shift) before it")
            // Behind the state lie `shift` bytes, then memory that cannot be read.
            let block = state.bytes + [UInt8](repeating: 0xEE, count: shift)
            let copy = block.withUnsafeBytes { bytes in
                bytes.baseAddress.flatMap { GuardedPages.copy($0, block.count, atEnd: true) }
            }
            try call.finish(
                load(rig.instance.own, call.pointer, state.version, copy, state.bytes.count))
            if try rig.work(9) != expected {
                throw Finding.fail("a state at an odd address gives another future")
            }
        }
    }
}
