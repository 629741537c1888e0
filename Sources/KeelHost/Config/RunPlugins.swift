import KeelBridge
import KeelCore

/// The plugins that a config names, found and given checked parameters; nothing of them has run yet.
package struct RunPlugins: Sendable {
    /// A component and the parameters it will be made with.
    package struct Choice: Sendable {
        package let component: Component
        package let parameters: ParameterValues
    }

    package let objective: Choice
    package let rewards: [Choice]
    package let sampler: Choice
    package let order: Choice

    /// Every plugin with the place it fills, for the manifest.
    var all: [(instance: String, component: Component)] {
        [
            ("objective", objective.component), ("order", order.component),
            ("sampler", sampler.component),
        ]
            + rewards.enumerated().map { ("rewards[\($0.offset)]", $0.element.component) }
    }
}

extension RunConfig {
    /// The config in a file and the plugins it names, or everything that is wrong with both at once.
    ///
    /// The parameters in the config are completed with the plugins' defaults.
    ///
    /// - Throws: as `load`; unavailable (69) when plugins are all that is missing.
    package static func load(
        _ path: String, overrides: [String] = [], outputDir: String? = nil, catalog: PluginCatalog
    ) throws -> (config: RunConfig, plugins: RunPlugins) {
        var search = PluginSearch(catalog: catalog)
        var config = try load(path, overrides: overrides, outputDir: outputDir) { config, reader in
            search.objective = search.find(
                config.objective.plugin, .objective, config.objective.params, "objective", reader)
            search.rewards = search.findRewards(config, reader)
            search.sampler = search.find(
                config.sampler.plugin, .tokenSampler, config.sampler.params, "sampler", reader)
            search.order = search.find(
                config.order.plugin, .dataSampler, config.order.params, "order", reader)
            search.checkObjective(config, reader)
            search.checkGiven(config, reader)
        }
        guard let objective = search.objective, let sampler = search.sampler,
            let order = search.order
        else { throw KeelError("config", "a plugin is missing", at: path, code: .internalBug) }
        let plugins = RunPlugins(
            objective: objective, rewards: search.rewards, sampler: sampler, order: order)
        config.objective.params = objective.parameters.values
        config.sampler.params = sampler.parameters.values
        config.order.params = order.parameters.values
        config.completeRewards(plugins.rewards)
        return (config, plugins)
    }

    /// The `rewards`, `combine` and `sampler` sections of a file and the plugins they name.
    ///
    /// - Throws: as `load`; also when the file has no rewards.
    package static func loadRewards(
        _ path: String, overrides: [String] = [], catalog: PluginCatalog
    ) throws -> (config: RunConfig, rewards: [RunPlugins.Choice], sampler: RunPlugins.Choice) {
        var search = PluginSearch(catalog: catalog)
        var config = try loadRewards(path, overrides: overrides) { config, reader in
            search.rewards = search.findRewards(config, reader)
            search.sampler = search.find(
                config.sampler.plugin, .tokenSampler, config.sampler.params, "sampler", reader)
        }
        guard let sampler = search.sampler else {
            throw KeelError("config", "a plugin is missing", at: path, code: .internalBug)
        }
        config.completeRewards(search.rewards)
        return (config, search.rewards, sampler)
    }

    private mutating func completeRewards(_ found: [RunPlugins.Choice]) {
        for (i, choice) in found.enumerated() {
            rewards[i].params = choice.parameters.values
            if rewards[i].name == nil { rewards[i].name = choice.component.name }
        }
    }
}

/// Looks plugins up while a config is being checked.
private struct PluginSearch {
    let catalog: PluginCatalog
    var objective: RunPlugins.Choice?
    var rewards: [RunPlugins.Choice] = []
    var sampler: RunPlugins.Choice?
    var order: RunPlugins.Choice?

    /// The component of a section with its parameters; nil after telling the reader why not.
    func find(
        _ plugin: String, _ kind: ComponentKind, _ params: JSONObject, _ section: String,
        _ reader: ConfigReader
    ) -> RunPlugins.Choice? {
        // A path that does not exist, or a missing key, has been told of by the reader.
        guard !plugin.isEmpty else { return nil }
        let key = "\(section).plugin"
        let component: Component
        do {
            var name = plugin
            if kind == .objective, let known = ConfigAliases.objectives[plugin],
                !catalog.list().components.contains(where: { $0.name == plugin })
            {
                reader.note("\"\(plugin)\" is read as \"\(known)\"", at: key)
                name = known
            }
            component = try catalog.find(name, kind: kind)
        } catch let error as KeelError {
            let place = reader.places.place(of: key)
            let at = ConfigReader.isPluginPath(plugin) ? "\(place): \(plugin)" : place
            reader.add(
                KeelError("config", error.what, at: at, fix: error.fix, code: error.code))
            return nil
        } catch {
            reader.report("\(error)", at: key, code: .unavailable)
            return nil
        }
        let given = ConfigAliases.parameters(params, known: component.parameters.map(\.name)) {
            reader.note("\"\($0)\" is read as \"\($1)\"", at: "\(section).params.\($0)")
        }
        var choice: RunPlugins.Choice?
        reader.collect {
            let values = try component.validate(params: given) {
                reader.places.place(of: "\(section).params.\($0)")
            }
            choice = RunPlugins.Choice(component: component, parameters: values)
        }
        return choice
    }

    func findRewards(_ config: RunConfig, _ reader: ConfigReader) -> [RunPlugins.Choice] {
        config.rewards.enumerated().compactMap { i, reward in
            let section = "rewards.\(i)"
            let found =
                reward.plugin.map { find($0, .reward, reward.params, section, reader) }
                ?? reward.native?.choice(params: reward.params, at: section, reader)
            guard let found else { return nil }
            checkModels(found.component, reward, section, reader)
            checkName(reward.name ?? found.component.name, section, reader)
            return found
        }
    }

    /// A reward's scores are a column of `samples.jsonl`, beside others.
    private func checkName(_ name: String, _ section: String, _ reader: ConfigReader) {
        guard SampleLine.columns.contains(name) else { return }
        reader.report(
            "a reward is called \"\(name)\", which is another column of samples.jsonl",
            at: "\(section).name",
            fix: "give it another \"name\", such as \"\(name)_score\"")
    }

    /// The models of an entry are those that its plugin works with, and folders of the right kind.
    private func checkModels(
        _ component: Component, _ reward: RewardConfig, _ section: String, _ reader: ConfigReader
    ) {
        for problem in RewardModels.problems(component, reward) {
            let key = "\(section).\(problem.isMissing ? "plugin" : problem.key)"
            reader.report(
                problem.what, at: key,
                fix: problem.isMissing
                    ? "add \"\(problem.key)\": {\"path\": \"FOLDER\"} to the entry" : "remove it")
        }
        for (path, key) in [(reward.model?.path, "model"), (reward.judge?.path, "judge")] {
            // A folder that does not exist has been told of by the reader.
            guard let path, !path.isEmpty, Files.isDirectory(path) else { continue }
            reader.collect {
                try RewardModels.check(
                    path, isJudge: key == "judge",
                    place: reader.places.place(of: "\(section).\(key).path"))
            }
        }
    }

    /// What a reward gives beside its scores is read by the objective, or refused: nothing is dropped silently.
    func checkGiven(_ config: RunConfig, _ reader: ConfigReader) {
        let needs = objective?.component.needs ?? []
        let isRead = needs.contains { $0 == TokenRewards.column || $0 == TokenRewards.column + "?" }
        for (i, choice) in rewards.enumerated() where rewards.count == config.rewards.count {
            let name = "reward \"\(choice.component.name)\""
            let place = "rewards.\(i).plugin"
            for column in choice.component.gives where column != TokenRewards.column {
                reader.report(
                    "\(name) gives the column \"\(column)\", which a run does not hand to the "
                        + "objective",
                    at: place, fix: "use a reward that gives scores and token_rewards alone",
                    code: .unavailable)
            }
            guard choice.component.gives.contains(TokenRewards.column) else { continue }
            if let objective, !isRead {
                reader.report(
                    "\(name) rewards single tokens, which objective \"\(objective.component.name)\" "
                        + "does not read",
                    at: place,
                    fix: "use an objective that needs token_rewards, such as ppo, or a "
                        + "reward that gives scores alone", code: .unavailable)
            }
            if config.rewards[i].normalize != .none || config.rewards[i].clip != nil
                || config.combine.effectiveTransform != .none
                || config.combine.rule == .normalizeThenSum
            {
                reader.report(
                    "\(name) rewards single tokens, which are added as they are: neither normalised, clipped "
                        + "nor transformed", at: place,
                    fix:
                        "leave out normalize and clip of this reward, combine.transform and the rule "
                        + "normalize_then_sum, and set its weight", code: .config)
            }
        }
    }

    /// What the objective asks of the rest of the config.
    func checkObjective(_ config: RunConfig, _ reader: ConfigReader) {
        let plugin = config.objective.plugin
        guard !plugin.isEmpty, let component = try? catalog.find(plugin, kind: .objective) else {
            return
        }
        let needsReference = component.needs.contains {
            !$0.hasSuffix("?") && ($0.hasPrefix("ref_") || $0.contains(".ref_"))
        }
        if needsReference, config.reference == .none {
            reader.report(
                "objective \"\(component.name)\" needs reference log-probs, but \"reference\" is \"none\"",
                at: "reference",
                fix:
                    "set \"reference\": \"initial\" to use the starting weights, or name a model: "
                    + "{\"path\": \"...\"}")
        }
        if component.data == "rollouts", config.rewards.isEmpty {
            reader.report(
                "objective \"\(component.name)\" learns from rewards, but the config has none",
                at: "objective.plugin", fix: "add \"rewards\": [{\"plugin\": \"length\"}]")
        }
        if component.data == "rollouts", config.train.numGenerations < 2,
            component.needs.contains("group")
        {
            reader.report(
                "objective \"\(component.name)\" compares completions of one prompt, but "
                    + "train.num_generations is \(config.train.numGenerations)",
                at: "train.num_generations", fix: "use 2 or more")
        }
        if component.data == "rollouts" { checkRollout(config.train, reader) }
    }

    /// A rollout holds whole groups, and whole optimizer steps.
    private func checkRollout(_ train: TrainConfig, _ reader: ConfigReader) {
        let (rows, group) = (train.rowsPerStep, train.numGenerations)
        if let rollout = train.rolloutBatchSize {
            guard rollout % rows != 0 else { return }
            reader.report(
                "train.rollout_batch_size is \(rollout), which is no multiple of the \(rows) completions of an "
                    + "optimizer step (per_device_train_batch_size * gradient_accumulation_steps)",
                at: "train.rollout_batch_size", fix: "use \(max(1, rollout / rows) * rows)")
        } else if rows % group != 0 {
            reader.report(
                "an optimizer step has \(rows) completions, which is no multiple of train.num_generations "
                    + "(\(group))", at: "train.num_generations",
                fix: "set train.per_device_train_batch_size to a multiple of \(group), or name a "
                    + "train.rollout_batch_size")
        }
    }
}
