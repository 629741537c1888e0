import Glibc
import KeelCore

/// A row's score depends on the row alone: not on its neighbours, the instance, the thread or the time.
extension ConformanceTest {
    static let independenceTests: [ConformanceTest] = [
        independence(
            "replay", "Another process, a second later, gives the same bits.", after: ["runs"],
            replay: 1.1
        ) { trial in
            let rig = try RewardRig(trial, try trial.parameters())
            trial.record(try rig.score(rows(rig, trial)).bits)
        },
        independence(
            "repeated", "The same call again, on the same instance, gives the same bits.",
            after: ["replay"]
        ) { trial in
            let rig = try RewardRig(trial, try trial.parameters())
            let rows = rows(rig, trial)
            let first = try rig.score(rows)
            for _ in 0..<3 {
                try compare(
                    trial, first.values, try rig.score(rows).values, rows,
                    "scored again on the same instance",
                    fix: "keep nothing between calls, or save it: save and load")
            }
        },
        independence(
            "instances", "Four instances give the same bits.", after: ["repeated"],
            run: testInstances),
        independence(
            "permuted", "The order of the rows does not matter.", after: ["instances"],
            run: testPermuted),
        independence(
            "split", "It does not matter how rows are divided into calls.", after: ["permuted"],
            run: testSplit),
        ConformanceTest(
            .independence, "threads", "Four threads on one instance give the same bits.",
            kinds: [.reward], after: ["split"],
            skip: {
                dependent($0)
                    ?? ($0.flags.contains(.parallel) ? nil : "it does not say that it is parallel")
            }, run: testThreads),
    ]

    private static func independence(
        _ name: String, _ help: String, after: [String], replay: Double? = nil,
        run: @escaping @Sendable (Trial) throws -> Void
    ) -> ConformanceTest {
        ConformanceTest(
            .independence, name, help, kinds: [.reward], after: after, replay: replay,
            skip: dependent, run: run)
    }

    /// Why scores may depend on more than the row; nil when they may not.
    @Sendable private static func dependent(_ component: Component) -> String? {
        if component.flags.contains(.nondeterministic) { return "it says it is nondeterministic" }
        if component.flags.contains(.coupled) { return "it says that rows are coupled" }
        if component.hasCallback("save") { return "it has a state" }
        return nil
    }

    private static func rows(_ rig: RewardRig, _ trial: Trial) -> [RewardRow] {
        var dice = Dice(seed: trial.seed, place: "independence")
        return rig.rows(9, &dice)
    }

    private static func compare(
        _ trial: Trial, _ expected: [Float], _ got: [Float], _ rows: [RewardRow], _ how: String,
        fix: String
    ) throws {
        for (index, (a, b)) in zip(expected, got).enumerated() {
            guard a.bitPattern != b.bitPattern, !(a.isNaN && b.isNaN) else { continue }
            throw Finding.fail(
                "row \(rows[index].id) scores \(a), and \(b) when \(how)", fix: fix)
        }
    }

    private static let rowAlone =
        "a score must depend on its row alone; if rows are compared, set KEEL_COUPLED (Swift: GroupReward)"

    private static func testPermuted(_ trial: Trial) throws {
        let rows = rows(try RewardRig(trial, try trial.parameters()), trial)
        let first = try RewardRig(trial, try trial.parameters()).score(rows)
        let orders = [
            Array(rows.indices.reversed()), rows.indices.map { ($0 * 4 + 1) % rows.count },
        ]
        for order in orders {
            let rig = try RewardRig(trial, try trial.parameters())
            let moved = try rig.score(order.map { rows[$0] })
            try compare(
                trial, order.map { first.values[$0] }, moved.values, order.map { rows[$0] },
                "the rows come in another order", fix: rowAlone)
        }
    }

    private static func testSplit(_ trial: Trial) throws {
        let rows = rows(try RewardRig(trial, try trial.parameters()), trial)
        let first = try RewardRig(trial, try trial.parameters()).score(rows)
        for sizes in [[5, 3, 1], [1, 1, 1, 1, 1, 1, 1, 1, 1], [8, 1]] {
            let rig = try RewardRig(trial, try trial.parameters())
            var start = 0
            for size in sizes {
                let part = Array(rows[start..<start + size])
                try compare(
                    trial, Array(first.values[start..<start + size]), try rig.score(part).values,
                    part, "\(size) of the \(rows.count) rows are scored alone", fix: rowAlone)
                start += size
            }
        }
    }

    private static func testInstances(_ trial: Trial) throws {
        let rigs = try (0..<4).map { _ in try RewardRig(trial, try trial.parameters()) }
        let rows = rows(rigs[0], trial)
        let first = try rigs[0].score(rows)
        for rig in rigs {
            try compare(
                trial, first.values, try rig.score(rows).values, rows, "another instance does it",
                fix: "keep what an instance knows behind `self`, not in globals")
        }
    }

    private static func testThreads(_ trial: Trial) throws {
        let rig = try RewardRig(trial, try trial.parameters())
        let rows = rows(rig, trial)
        let first = try rig.score(rows)
        let found = Guarded<Finding?>(nil)
        let pool = ThreadTeam(4) {
            for _ in 0..<25 where found.withLock({ $0 == nil }) {
                do {
                    try compare(
                        trial, first.values, try rig.score(rows).values, rows,
                        "four threads score at once",
                        fix: "share no buffer between calls, or leave KEEL_PARALLEL out")
                } catch let finding as Finding {
                    found.withLock { $0 = finding }
                } catch {
                    let words = Trial.words(error)
                    found.withLock { $0 = .fail("with four threads: \(words)") }
                }
            }
        }
        pool.join()
        if let finding = found.withLock({ $0 }) { throw finding }
    }
}

/// A few threads that run the same body.
final class ThreadTeam {
    private final class Box: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }

    private var threads: [pthread_t] = []

    init(_ count: Int, _ body: @escaping @Sendable () -> Void) {
        for _ in 0..<count {
            var thread = pthread_t()
            let box = Unmanaged.passRetained(Box(body))
            let status = pthread_create(
                &thread, nil,
                { argument in
                    guard let argument else { return nil }
                    Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body()
                    return nil
                }, box.toOpaque())
            if status == 0 { threads.append(thread) } else { box.release() }
        }
    }

    func join() {
        for thread in threads { pthread_join(thread, nil) }
        threads = []
    }
}
