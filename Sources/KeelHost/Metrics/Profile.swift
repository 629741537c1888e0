import KeelCore

/// What the steps of a run cost, by stage: `keel train --profile FILE`.
///
/// Counters of every step go to the trace, the sums to a table when the run ends.
final class Profile {
    private let trace: Trace?
    private var steps = 0
    private var tokens = 0
    private var last: StageClock.Reading?
    private var first: StageClock.Reading?
    /// Of the run so far, without its first step, in which memory and primitives are made.
    private var warm: StageClock.Reading?
    private var warmTokens = 0

    /// Counts from now on, on the calling thread.
    init(_ trace: Trace?) {
        self.trace = trace
        StageClock.start()
    }

    /// The first step is about to begin.
    func begin() {
        first = StageClock.read()
        last = first
    }

    /// A step has ended.
    ///
    /// - Parameter tokens: of the step, as metrics count them.
    func step(tokens: Int) {
        guard let last, let now = StageClock.read() else { return }
        let difference = now - last
        self.last = now
        self.tokens += tokens
        steps += 1
        if steps == 1 { warm = now } else { warmTokens += tokens }
        var milliseconds: JSONObject = [:]
        for stage in Stage.allCases {
            milliseconds.append(stage.name, .double(difference[stage].cpu * 1e3))
        }
        milliseconds.append("other", .double(Profile.other(difference) * 1e3))
        trace?.counter("CPU ms of a step", milliseconds)
        let rate = difference.total.flops / difference.total.cpu / 1e9
        trace?.counter("useful GFLOP per CPU second", ["all": .double(rate)])
    }

    /// CPU seconds that belong to no stage.
    private static func other(_ reading: StageClock.Reading) -> Double {
        reading.total.cpu - Stage.allCases.reduce(0) { $0 + reading[$1].cpu }
    }

    /// The table: steps after the first where there are any.
    var lines: [String] {
        guard let first, let last, steps > 0 else { return [] }
        let isWarm = steps > 1
        let count = Double(isWarm ? steps - 1 : steps)
        let sum = last - (isWarm ? warm ?? first : first)
        let all = sum.total.cpu
        guard all > 0 else { return [] }
        func number(_ x: Double, _ digits: Int, _ width: Int) -> String {
            let text = x.fixed(digits)
            return String(repeating: " ", count: max(0, width - text.utf8.count)) + text
        }
        func row(_ name: String, _ cpu: Double, _ wall: Double?, _ flops: Double) -> String {
            let padded = name + String(repeating: " ", count: max(0, 12 - name.utf8.count))
            var line = "  \(padded)\(number(100 * cpu / all, 1, 6)) %"
            line += "\(number(1e3 * cpu / count, 1, 12))"
            line +=
                wall.map { number(1e3 * $0 / count, 1, 12) } ?? String(repeating: " ", count: 12)
            line += flops > 0 ? number(flops / max(cpu, 1e-9) / 1e9, 1, 12) : ""
            return line
        }
        var table = [
            "profile: \(isWarm ? steps - 1 : steps) steps\(isWarm ? " after the first" : ""), "
                + "\((Double(isWarm ? warmTokens : tokens) / all).fixed(1)) tokens per CPU second",
            "  stage        share      CPU ms     wall ms   GFLOP/CPU s  (a step)",
        ]
        for stage in Stage.allCases where sum[stage].calls > 0 {
            table.append(
                row(stage.name, sum[stage].cpu, sum[stage].wall, sum[stage].flops))
        }
        table.append(row("other", Profile.other(sum), nil, 0))
        table.append(row("all", all, sum.total.wall, sum.total.flops))
        return table
    }
}

extension Double {
    /// With so many digits after the point.
    fileprivate func fixed(_ digits: Int) -> String {
        guard isFinite else { return "\(self)" }
        var factor = 1.0
        for _ in 0..<digits { factor *= 10 }
        let scaled = (magnitude * factor).rounded()
        let whole = (scaled / factor).rounded(.down)
        let sign = self < 0 && scaled > 0 ? "-" : ""
        guard digits > 0 else { return sign + "\(Int(whole))" }
        let rest = "\(Int(scaled - whole * factor))"
        return sign + "\(Int(whole))."
            + String(repeating: "0", count: max(0, digits - rest.utf8.count)) + rest
    }
}
