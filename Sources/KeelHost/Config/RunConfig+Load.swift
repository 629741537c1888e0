import KeelCore
import KeelData

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

    /// The `rewards`, `combine` and `sampler` sections of a file, which need hold nothing else; models and rows that
    /// the rest of it names need not be there.
    ///
    /// - Throws: as `load`; also when the file has no rewards.
    package static func loadRewards(
        _ path: String, overrides: [String] = [],
        validate: (RunConfig, ConfigReader) -> Void = { _, _ in }
    ) throws -> RunConfig {
        let reader = try ConfigReader(
            path: path, overrides: overrides,
            wanted: ["rewards", "combine", "sampler", "data.chat_template"])
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

    private func checkSampler(_ reader: ConfigReader) {
        if let i = sampler.stop.firstIndex(of: "") {
            reader.report(
                "an empty text would end every completion", at: "sampler.stop.\(i)",
                fix: "give the text that ends a completion, or remove it")
        }
        let longest = data.maxCompletionLength ?? 512
        if sampler.minNewTokens > longest {
            reader.report(
                "sampler.min_new_tokens is \(sampler.minNewTokens), above data.max_completion_length "
                    + "(\(longest))", at: "sampler.min_new_tokens",
                fix: "use \(longest) or less")
        }
    }

    /// Renames are of fields that mean something.
    private func checkColumns(_ reader: ConfigReader) {
        for name in data.columns.keys where !RowKind.fieldNames.contains(name) {
            let near = nearest(name, among: RowKind.fieldNames).map { "did you mean \"\($0)\"? " }
            reader.report(
                "data.columns renames \"\(name)\", which is no field that Keel reads",
                at: "data.columns.\(name)",
                fix: (near ?? "") + "write {\"KEEL'S NAME\": \"NAME IN THE FILE\"}; Keel reads "
                    + RowKind.fieldNames.joined(separator: ", "))
        }
    }

    /// Rules that span several keys.
    private func check(_ reader: ConfigReader) {
        checkRewards(reader)
        checkColumns(reader)
        checkSampler(reader)
        order.run.check(at: "order.run", reader)
        if train.evalSteps != nil, data.valid == nil {
            reader.report(
                "train.eval_steps asks for evaluations, but data.valid names no rows",
                at: "train.eval_steps",
                fix: "add \"valid\": \"FILE.jsonl\" to \"data\", or remove train.eval_steps")
        }
        checkEvaluation(reader)
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

    /// What evaluations need.
    private func checkEvaluation(_ reader: ConfigReader) {
        for (isSet, key) in [
            (train.evalGenerations, "eval_generations"), (train.evalOnStart, "eval_on_start"),
            (train.loadBestModelAtEnd, "load_best_model_at_end"),
        ] where isSet && data.valid == nil {
            reader.report(
                "train.\(key) asks for evaluations, but data.valid names no rows",
                at: "train.\(key)", fix: "add \"valid\": \"FILE.jsonl\" to \"data\", or remove it")
        }
        checkUpdate(reader)
        if train.evalGenerations, rewards.isEmpty {
            reader.report(
                "train.eval_generations needs rewards that judge the answers",
                at: "train.eval_generations", fix: "name plugins in \"rewards\", or remove it")
        }
    }

    /// The reference follows evaluations of answers: a loss is measured against the reference itself.
    private func checkUpdate(_ reader: ConfigReader) {
        guard train.refModelUpdateThreshold != nil else { return }
        let key = "train.ref_model_update_threshold"
        if !train.evalGenerations || train.evalSteps == nil {
            reader.report(
                "\(key) compares evaluations of the policy's answers, and the config asks for none",
                at: key,
                fix: "set train.eval_generations to true and train.eval_steps, or remove it")
        }
        if let metric = train.metricForBestModel, metric.hasSuffix("loss") {
            reader.report(
                "\(key) cannot go by \"\(metric)\", which changes with the reference", at: key,
                fix: "remove train.metric_for_best_model, or name eval_reward")
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
        checkCombination(reader)
    }

    /// The keys of `combine` that belong to the rule, and values that fit each other.
    private func checkCombination(_ reader: ConfigReader) {
        let isGated = combine.rule == .gated
        let names = rewards.map(\.shownName)
        if isGated, rewards.count < 2, !rewards.isEmpty {
            reader.report(
                "combine.rule is \"gated\", but there is one reward", at: "combine.rule",
                fix: "add the rewards that the gate lets through, or use \"sum\"")
        }
        if isGated, let gate = combine.gate, !names.contains(gate) {
            let near = nearest(gate, among: names).map { "did you mean \"\($0)\"?" }
            reader.report(
                "combine.gate is \"\(gate)\", which is no reward of this config",
                at: "combine.gate",
                fix: near ?? "name one of \(names.joined(separator: ", "))")
        }
        for (isSet, key) in [(combine.gate != nil, "gate"), (combine.tag != nil, "tag")]
        where isSet && !isGated {
            reader.report(
                "combine.\(key) is set, but combine.rule is not \"gated\"", at: "combine.\(key)",
                fix: "add \"rule\": \"gated\", or remove it")
        }
        if let tag = combine.tag, !tag.hasPrefix("/") {
            reader.report(
                "combine.tag is \"\(tag)\", which is no JSON pointer", at: "combine.tag",
                fix: "write \"/\(tag)\"")
        }
        if combine.rule == .normalizeThenSum, train.numGenerations < 2 {
            reader.report(
                "combine.rule is \"normalize_then_sum\", but train.num_generations is 1: there is nothing to compare with",
                at: "combine.rule", fix: "use \"sum\", or more completions to a prompt")
        }
        if combine.missingEOSPenalty > 0, (combine.stopProperly ?? 0) < 0 {
            reader.report(
                "combine.missing_eos_penalty and a negative combine.stop_properly both say what a cut completion is worth",
                at: "combine.missing_eos_penalty", fix: "keep one of them")
        }
        if combine.effectiveTransform != .none,
            let i = rewards.firstIndex(where: { $0.normalize == .normalize })
        {
            reader.report(
                "rewards[\(i)] is normalised, but the logit of combine.transform takes probabilities",
                at: "rewards.\(i).normalize",
                fix: "remove it, or set combine.transform to \"none\"")
        }
    }
}
