import KeelCore

extension RunConfig {
    /// The config in a file, resolved, or everything that is wrong with it at once.
    ///
    /// - Parameters:
    ///   - path: the config file; the paths in it are relative to it.
    ///   - overrides: `--set` arguments, `a.b=value`.
    ///   - outputDir: replaces the key `output_dir`; relative to the current folder.
    ///   - validate: further checks (plugins and their parameters), run even when errors were found; they
    ///     report through the reader.
    /// - Throws: `KeelError` or `KeelErrors`: config (78), noInput (66) when only files are missing.
    package static func load(
        _ path: String, overrides: [String] = [], outputDir: String? = nil,
        validate: (RunConfig, ConfigReader) -> Void = { _, _ in }
    ) throws -> RunConfig {
        var overrides = overrides
        if let outputDir {
            overrides.append("output_dir=\(JSON.string(Files.absolute(outputDir)).text())")
        }
        let reader = try ConfigReader(path: path, overrides: overrides)
        var config = reader.read(RunConfig.self)
        config.check(reader)
        validate(config, reader)
        try reader.throwErrors()
        config.places = reader.places
        for note in reader.notes { Log.notice("note: \(note)") }
        return config
    }

    /// The `rewards` and `combine` sections of a file, which need hold nothing else.
    ///
    /// - Throws: as `load`; also when the file has no rewards.
    package static func loadRewards(
        _ path: String, overrides: [String] = [],
        validate: (RunConfig, ConfigReader) -> Void = { _, _ in }
    ) throws -> RunConfig {
        let reader = try ConfigReader(path: path, overrides: overrides, allowsMissing: true)
        var config = reader.read(RunConfig.self)
        config.checkRewards(reader)
        if config.rewards.isEmpty {
            reader.report(
                "the config has no rewards", at: "rewards",
                fix: "add \"rewards\": [{\"plugin\": \"length\"}]")
        }
        validate(config, reader)
        try reader.throwErrors()
        config.places = reader.places
        return config
    }

    /// Rules that span several keys.
    private func check(_ reader: ConfigReader) {
        checkRewards(reader)
        order.run.check(at: "order.run", reader)
        if train.evalSteps != nil, data.valid == nil {
            reader.report(
                "train.eval_steps asks for evaluations, but data.valid names no rows",
                at: "train.eval_steps",
                fix: "add \"valid\": \"FILE.jsonl\" to \"data\", or remove train.eval_steps")
        }
        if let rollout = train.rolloutBatchSize, rollout % train.numGenerations != 0 {
            reader.report(
                "train.rollout_batch_size is \(rollout), which is no multiple of train.num_generations "
                    + "(\(train.numGenerations))", at: "train.rollout_batch_size",
                fix: "use \(max(1, rollout / train.numGenerations) * train.numGenerations)")
        }
        if train.maxSteps == 0 {
            reader.report(
                "train.max_steps is 0", at: "train.max_steps",
                fix: "use 1 or more, or -1 for num_train_epochs")
        }
        if objective.reduction != .constant, objective.reductionConstant != 1 {
            reader.report(
                "objective.reduction_constant is set, but objective.reduction is not \"constant\"",
                at: "objective.reduction_constant",
                fix: "add \"reduction\": \"constant\", or remove it")
        }
        for (field, column) in data.columns where column.string == nil {
            reader.wrongType(column, "the name of a field", "data.columns.\(field)")
        }
    }

    private func checkRewards(_ reader: ConfigReader) {
        var seen: Set<String> = []
        for (i, reward) in rewards.enumerated() {
            reward.run.check(at: "rewards.\(i).run", reader)
            if let clip = reward.clip, clip.count != 2 || clip[0] >= clip[1] {
                reader.report(
                    "rewards[\(i)].clip is \(clip.json.text()); it takes two numbers, the lower first",
                    at: "rewards.\(i).clip", fix: "write [-5, 5]")
            }
            reward.checkSource(at: "rewards.\(i)", reader)
            if !reward.shownName.isEmpty, !seen.insert(reward.shownName).inserted {
                reader.report(
                    "two rewards are called \"\(reward.shownName)\"", at: "rewards.\(i)",
                    fix: "give one of them another \"name\"")
            }
        }
    }
}
