import KeelCore

/// A run as its folder tells of it, however it ended.
struct RunRecord {
    /// The folder, or the file that was given.
    let path: String
    /// What figures call it.
    var label: String
    /// `keel_run.json`; nil where there is only a file of numbers.
    let manifest: JSON?
    let metrics: MetricTable

    /// Reads a run's folder, a file of metrics, or a `trainer_state.json`.
    ///
    /// - Throws: `KeelError`: noInput where there is no run, badData for files that cannot be read.
    init(_ path: String) throws {
        self.path = path
        label = Files.name(Files.absolute(path))
        guard Files.exists(path) else {
            throw KeelError(
                "report", "there is no run: the folder does not exist", at: path,
                fix: "give the output_dir of a run", code: .noInput)
        }
        guard Files.isDirectory(path) else {
            manifest = nil
            metrics =
                path.hasSuffix(".json")
                ? try MetricTable(trainerState: path) : try MetricTable(lines: path)
            return
        }
        let manifestPath = Files.join(path, Manifest.file)
        manifest =
            Files.exists(manifestPath)
            ? try JSON.parse(try Files.read(manifestPath), name: manifestPath) : JSON?.none
        let lines = Files.join(path, "metrics.jsonl")
        let state = Files.join(path, "trainer_state.json")
        if Files.exists(lines) {
            metrics = try MetricTable(lines: lines)
        } else if Files.exists(state) {
            metrics = try MetricTable(trainerState: state)
        } else {
            throw KeelError(
                "report", "the folder holds no run: it has no metrics.jsonl", at: path,
                fix: "give the output_dir of a run", code: .noInput)
        }
    }

    /// The runs of several folders; those of one name are told apart by the folders above.
    static func load(_ paths: [String], labels: [String] = []) throws -> [RunRecord] {
        guard labels.isEmpty || labels.count == paths.count else {
            throw KeelError(
                "report", "\(labels.count) labels for \(paths.count) runs", at: "--label",
                fix: "give --label once for each run, in their order, or not at all", code: .usage)
        }
        var runs = try paths.map { try RunRecord($0) }
        if labels.isEmpty {
            for (index, run) in runs.enumerated()
            where runs.count(where: { Files.name(Files.absolute($0.path)) == run.label }) > 1 {
                let above = Files.name(Files.parent(Files.absolute(run.path)))
                runs[index].label = "\(above)/\(Files.name(Files.absolute(run.path)))"
            }
        } else {
            for (index, label) in labels.enumerated() { runs[index].label = label }
        }
        return runs
    }

    /// The config without what differs between the seeds of one experiment; nil without a manifest.
    var experiment: JSON? {
        guard var config = manifest?["config"]?.object else { return nil }
        config["output_dir"] = nil
        if var train = config["train"]?.object {
            for key in ["seed", "threads"] { train[key] = nil }
            config["train"] = .object(train)
        }
        return .object(config)
    }
}

/// Runs that are one line of a figure: a run alone, or those that differ in their seed.
struct RunGroup {
    var label: String
    var runs: [RunRecord]

    /// Each run on its own.
    static func each(_ runs: [RunRecord]) -> [RunGroup] {
        runs.map { RunGroup(label: $0.label, runs: [$0]) }
    }

    /// Runs of the same label, or of the same config but for the seed, together; in the order of their first.
    static func bySeed(_ runs: [RunRecord], isLabelled: Bool) -> [RunGroup] {
        var groups: [RunGroup] = []
        for run in runs {
            let found = groups.firstIndex { group in
                guard let first = group.runs.first else { return false }
                if isLabelled { return first.label == run.label }
                return run.experiment.map { $0 == first.experiment } ?? false
            }
            if let found { groups[found].runs.append(run) } else { groups += each([run]) }
        }
        guard !isLabelled else { return groups }
        for index in groups.indices where groups[index].runs.count > 1 {
            groups[index].label = commonLabel(groups[index].runs)
        }
        return groups
    }

    /// What the names begin with alike: `ppo-1`, `ppo-2` -> `ppo`.
    private static func commonLabel(_ runs: [RunRecord]) -> String {
        var prefix = Array(runs[0].label)
        for run in runs.dropFirst() {
            let same = zip(prefix, run.label).prefix { $0 == $1 }.count
            prefix = Array(prefix.prefix(same))
        }
        while let last = prefix.last, "-_./ ".contains(last) { prefix.removeLast() }
        let name = String(prefix)
        for word in ["seed", "run", "s"]
        where name.hasSuffix("-" + word) || name.hasSuffix("_" + word) {
            return String(name.dropLast(word.count + 1))
        }
        return name.isEmpty ? runs[0].label : name
    }
}
