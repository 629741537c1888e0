import KeelCore

/// What a reader of a run should know before its curves: how it ended, and what looks wrong.
struct RunFindings {
    enum Status: Equatable {
        case finished
        /// The last step logged, and the steps it was to have.
        case unfinished(step: Int, of: Int?)
        /// A file of numbers that does not say.
        case unknown
    }

    let status: Status
    let remarks: [String]

    init(_ run: RunRecord) {
        let metrics = run.metrics
        let last = metrics.lastStep ?? 0
        let total = run.manifest?["total_steps"]?.int
        if RunFindings.isFinished(run) {
            status = .finished
        } else if run.manifest != nil {
            status = .unfinished(step: last, of: total)
        } else {
            status = .unknown
        }
        var remarks: [String] = []
        if case .unfinished = status {
            let of = total.map { " of \($0)" } ?? ""
            let saved = CheckpointStore(directory: run.path).steps().last
            remarks.append(
                "Not finished: the last step logged is \(last)\(of)"
                    + (saved.map { "; --resume auto goes on with checkpoint-\($0)." }
                        ?? "; there is no checkpoint to go on from."))
        }
        remarks += RunFindings.ends(run)
        if metrics.isTorn {
            remarks.append("The last line of metrics.jsonl is torn; it was left out.")
        }
        remarks += RunFindings.faults(metrics)
        remarks += RunFindings.rewards(metrics)
        remarks += RunFindings.health(metrics)
        self.remarks = remarks
    }

    /// Whether the last thing that the run's log tells is its end; without a log, the last line of its numbers.
    ///
    /// A run that was given more steps has ended before.
    private static func isFinished(_ run: RunRecord) -> Bool {
        let ends = RunLog.read(run.path).filter { $0.event != .warned }
        return ends.last.map { $0.event == .finished }
            ?? run.metrics.endsWith("train_runtime")
    }

    /// How the run ended before it was done, each time, and what it warned of.
    private static func ends(_ run: RunRecord) -> [String] {
        guard run.manifest != nil else { return [] }
        var remarks: [String] = []
        var running: Int?
        var warnings: [(text: String, step: Int, count: Int)] = []
        for (event, step, text) in RunLog.read(run.path) {
            switch event {
            case .warned:
                let text = text ?? ""
                if let known = warnings.firstIndex(where: { $0.text == text }) {
                    warnings[known].count += 1
                } else {
                    warnings.append((text, step, 1))
                }
            case .started, .resumed:
                if let running {
                    remarks.append(
                        "Ended without a word after it had begun at step \(running): killed, or the machine stopped."
                    )
                }
                if event == .resumed { remarks.append("Resumed at step \(step).") }
                running = step
            case .finished: running = nil
            case .stopped:
                remarks.append("Stopped after step \(step)\(text.map { " \($0)" } ?? "").")
                running = nil
            case .failed:
                remarks.append("Failed after step \(step): \(text ?? "")")
                running = nil
            }
        }
        return remarks
            + warnings.map { text, step, count in
                "Warned \(count > 1 ? "\(count) times, first " : "")at step \(step): \(text)"
            }
    }

    /// Values that are no numbers.
    private static func faults(_ metrics: MetricTable) -> [String] {
        metrics.columns.compactMap { name, column in
            guard let at = column.values.firstIndex(where: { !$0.isFinite }) else { return nil }
            let count = column.values.count { !$0.isFinite }
            return
                "\(name) is not finite in \(count) of \(column.values.count) log lines, first at step \(metrics.steps(of: name)[at])."
        }
    }

    /// Rewards that failed, or that say the same of everything.
    private static func rewards(_ metrics: MetricTable) -> [String] {
        var remarks: [String] = []
        for name in RewardTable.names(metrics) {
            let sums = ["errors", "timeouts", "skipped", "restarts"].compactMap { what in
                let sum = (metrics.columns["reward_calls/\(name)/\(what)"]?.values ?? [])
                    .filter(\.isFinite).reduce(0, +)
                return sum > 0 ? "\(Scale.plain(sum)) \(what)" : nil
            }
            if !sums.isEmpty {
                remarks.append("Reward \(name): \(sums.joined(separator: ", ")).")
            }
            if let spread = metrics.columns["rewards/\(name)/std"]?.values, spread.count > 1,
                spread.allSatisfy({ $0 == 0 })
            {
                remarks.append(
                    "Reward \(name) gave every completion of a step the same: it teaches nothing.")
            }
        }
        return remarks
    }

    /// Signs of a run that does not learn what it should, in its last quarter.
    private static func health(_ metrics: MetricTable) -> [String] {
        func late(_ name: String) -> Double? {
            guard let values = metrics.columns[name]?.values.filter(\.isFinite), !values.isEmpty
            else { return nil }
            return Statistics.mean(Array(values.suffix(max(1, values.count / 4))))
        }
        func percent(_ share: Double) -> String { "\(Scale.plain((100 * share).rounded())) %" }
        var remarks: [String] = []
        if let share = late("completions/clipped_ratio"), share > 0.5 {
            remarks.append(
                "\(percent(share)) of the late completions are cut at the length limit: their reward is that of half a text."
            )
        }
        // Groups of one are always equal to themselves.
        let alone = metrics.columns["frac_reward_zero_std"]?.values.allSatisfy { $0 == 1 } ?? true
        if !alone, let share = late("frac_reward_zero_std"), share > 0.9 {
            remarks.append(
                "In \(percent(share)) of the late groups all rewards are equal: they teach nothing."
            )
        }
        if let share = late("completions/unique_ratio"), share < 0.2 {
            remarks.append("Only \(percent(share)) of the late completions differ from each other.")
        }
        return remarks
    }
}
