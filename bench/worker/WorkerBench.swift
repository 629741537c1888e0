import Glibc
import KeelBridge
import KeelCore

/// What calls of rewards cost: in this process, in a worker, through libffi.
///
///     keel-bench PLUGIN.so        made of bench/worker/bytes.c
///
/// `make bench` runs it. Ends with 1 when a bar is missed: 1 us for the call of a C reward with 3 rows in this process, 200 us for
/// the round trip of 256 rows of 2 KB to a worker and back (medians).
@main
struct WorkerBench {
    /// Times of repeated calls, in microseconds.
    struct Times {
        private let sorted: [Double]

        /// - Parameter together: calls between two looks at the clock, which costs 50 ns itself.
        init(rounds: Int, together: Int = 1, _ call: () throws -> Void) rethrows {
            var times: [Double] = []
            for round in 0..<rounds + rounds / 10 {
                let start = Clock.now()
                for _ in 0..<together { try call() }
                let seconds = Clock.now() - start
                // The first tenth warms up.
                if round >= rounds / 10 { times.append(seconds * 1e6 / Double(together)) }
            }
            sorted = times.sorted()
        }

        var median: Double { sorted[sorted.count / 2] }
        var p99: Double { sorted[sorted.count * 99 / 100] }
        var minimum: Double { sorted[0] }
    }

    static func main() throws {
        guard let plugin = CommandLine.arguments.dropFirst().first else {
            print("usage: keel-bench PLUGIN.so, made of bench/worker/bytes.c")
            exit(ExitCode.usage.rawValue)
        }
        var bench = WorkerBench(isWithin: true)
        let catalog = PluginCatalog(searchPaths: [])
        let component = try catalog.find(plugin, kind: .reward)
        let parameters = try component.validate(params: [:])
        let inside = try InProcessReward(component, catalog: catalog, parameters: parameters)
        let batch = ColumnBatch(rewarding: rows(3, bytes: 200))
        let call = try Times(rounds: 10_000, together: 20) { _ = try inside.score(batch) }
        bench.show("C reward in process, 3 rows", call, bar: 1)
        let worker = try WorkerReward(component, parameters: parameters)
        try bench.roundTrips("C reward", worker, bar: 200)
        let strlen = try NativeFunction(
            library: "libc.so.6", symbol: "strlen", signature: "i64(str response)", place: "strlen")
        let native = try WorkerReward(
            try strlen.component(), parameters: try strlen.validate(params: [:]) { _ in nil })
        try bench.roundTrips("native function (strlen)", native, bar: nil)
        exit(bench.isWithin ? 0 : 1)
    }

    private var isWithin: Bool

    /// Round trips of one row and of 256, and the worker's own time for a row of the latter.
    private mutating func roundTrips(_ what: String, _ worker: WorkerReward, bar: Double?) throws {
        let sizes: [(count: Int, rounds: Int, bar: Double?)] = [(1, 4000, nil), (256, 2000, bar)]
        for size in sizes {
            let rows = WorkerBench.rows(size.count, bytes: 2000)
            var scores: [RewardScore] = []
            let times = try Times(rounds: size.rounds) {
                try worker.submit(rows, context: CallContext())
                scores = try worker.collect()
            }
            let count = size.count == 1 ? "1 row" : "\(size.count) rows x 2 KB"
            show("\(what) in a worker, \(count)", times, bar: size.bar)
            guard size.count > 1 else { continue }
            let own = scores.map(\.milliseconds).sorted()[size.count / 2] * 1000
            print("\(what), a row on the worker's clock".padded(56), own.text(digits: 3), "us")
        }
    }

    private mutating func show(_ what: String, _ times: Times, bar: Double?) {
        let figures = [("median", times.median), ("p99", times.p99), ("min", times.minimum)]
        var line = what.padded(56)
        for (name, value) in figures { line += " \(name) \(value.text(digits: 4)) us " }
        if let bar {
            let isMet = times.median <= bar
            isWithin = isWithin && isMet
            line += " bar \(Int(bar)) us \(isMet ? "ok" : "OVER")"
        }
        print(line)
    }

    /// Completions of so many bytes.
    static func rows(_ count: Int, bytes: Int) -> [RewardRow] {
        let text = Array(String(repeating: "the quick brown fox ", count: bytes / 20).utf8)
        return (0..<count).map {
            RewardRow(id: UInt64($0), prompt: Array("Why?".utf8), response: text)
        }
    }
}

extension String {
    fileprivate func padded(_ width: Int) -> String {
        self + String(repeating: " ", count: max(0, width - count))
    }
}
