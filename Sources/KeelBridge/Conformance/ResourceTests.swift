import Glibc
import KeelCore

/// A thousand calls: memory, files, threads, processes, output, time.
extension ConformanceTest {
    static let resourceTests: [ConformanceTest] = [
        resource(
            "output", "It writes nothing to standard output or error while it works."
        ) { trial in
            let rig = try trial.rig()
            let before = ProcessState.now().output
            for round in 0..<3 { _ = try rig.work(round) }
            guard ProcessState.now().output != before else { return }
            throw Finding.warn(
                "it writes to standard output or error",
                fix: "use keel_note (Swift: call.log), or metrics; standard output holds results")
        },
        resource("processes", "It leaves no process, thread, file or signal handler behind.") {
            trial in
            _ = try trial.rig().work(0)  // what is made once, at the first call, is no leak
            let before = ProcessState.now()
            for round in 0..<20 { _ = try trial.rig().work(round) }
            usleep(2000)
            guard let change = ProcessState.now().difference(from: before, atLoad: false) else {
                return
            }
            throw Finding.fail(
                "it \(change)", fix: "end, close and join before the callback returns")
        },
        resource(
            "memory", "A thousand calls and a hundred instances do not grow the process.",
            run: testMemory),
        resource("time", "Says how long a call takes.", run: testTime),
    ]

    private static func resource(
        _ name: String, _ help: String, run: @escaping @Sendable (Trial) throws -> Void
    ) -> ConformanceTest {
        ConformanceTest(
            .resources, name, help, kinds: everyKind, after: ["runs", "repeated"], run: run)
    }

    /// Bytes that a thousand calls may add: allocators keep some.
    private static let slack = 4 << 20

    private static func testMemory(_ trial: Trial) throws {
        let rig = try trial.rig()
        let begin = Clock.now()
        try grow(trial, "call") { _ = try rig.work($0 % 8) }
        if Clock.now() - begin < trial.timeout / 4 {
            try grow(trial, "instance", rounds: 50) { _ = try trial.rig().work($0 % 8) }
        }
    }

    /// Runs work in four parts and compares what the last parts add.
    private static func grow(
        _ trial: Trial, _ what: String, rounds: Int = 250, _ body: (Int) throws -> Void
    ) throws {
        var sizes: [Int] = []
        var done = 0
        for part in 0..<4 {
            let begin = Clock.now()
            for round in 0..<rounds {
                try body(round)
                done += 1
                if Clock.now() - begin > trial.timeout / 16 { break }
            }
            sizes.append(ProcessState.residentBytes())
            trial.at("\(what)s, part \(part + 1): \(sizes[part] >> 10) KiB")
        }
        // Growth that goes on: each part adds, and together more than allocators keep.
        let steps = zip(sizes, sizes.dropFirst()).map { $1 - $0 }
        let total = sizes[3] - sizes[0]
        if total > slack, steps.allSatisfy({ $0 > total / 8 }) {
            let each = total / max(1, done * 3 / 4)
            throw Finding.fail(
                "memory grows by about \(each) bytes a \(what) (\(total >> 10) KiB in \(done * 3 / 4))",
                fix:
                    "free in `destroy` what `create` allocates, and in a callback what it allocates"
            )
        }
        trial.note("\(max(0, total) >> 10) KiB after \(done) \(what)s")
    }

    private static func testTime(_ trial: Trial) throws {
        let rig = try trial.rig()
        _ = try rig.work(0)
        var times: [Double] = []
        let begin = Clock.now()
        while times.count < 400, Clock.now() - begin < 0.4 {
            let start = Clock.now()
            _ = try rig.work(0)
            times.append((Clock.now() - start) * 1e6)
        }
        times.sort()
        func at(_ share: Double) -> String {
            let value = times[min(times.count - 1, Int(Double(times.count) * share))]
            return value < 100 ? "\((value * 10).rounded() / 10)" : "\(Int(value))"
        }
        let rows = trial.subject.kind == .reward ? " of 3 rows" : ""
        trial.note("a call\(rows): p50 \(at(0.5)) us, p99 \(at(0.99)) us, with the test around it")
    }
}
