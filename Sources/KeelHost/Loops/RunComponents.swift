import KeelBridge
import KeelCore

/// The plugins that a config names, found and their parameters checked.
package struct RunComponents {
    package var objective: Component
    package var objectiveParameters: ParameterValues
    package var order: Component
    package var orderParameters: ParameterValues
    package var sampler: Component
    package var samplerParameters: ParameterValues
    package var rewards: [(component: Component, parameters: ParameterValues)]

    /// Finds every plugin of the config; what is wrong is reported through `reader`, with its line.
    ///
    /// - Returns: nil when something was reported.
    package static func find(
        _ config: RunConfig, catalog: PluginCatalog, reader: ConfigReader
    ) -> RunComponents? {
        let one = { (name: String, kind: ComponentKind, params: JSONObject, key: String) in
            find(name, kind, params, key, catalog, reader)
        }
        let objective = one(config.objective.plugin, .objective, config.objective.params, "objective")
        let order = one(config.order.plugin, .dataSampler, config.order.params, "order")
        let sampler = one(config.sampler.plugin, .tokenSampler, config.sampler.params, "sampler")
        let rewards = config.rewards.enumerated().map { i, reward in
            one(reward.plugin, .reward, reward.params, "rewards.\(i)")
        }
        if let objective, objective.0.data == "rollouts", config.rewards.isEmpty {
            reader.report(
                "objective \"\(objective.0.name)\" learns from rewards, and the config has none", at: "objective.plugin",
                fix: "add \"rewards\": [{\"plugin\": \"length\"}]")
        }
        guard let objective, let order, let sampler, !rewards.contains(where: { $0 == nil }) else { return nil }
        return RunComponents(
            objective: objective.0, objectiveParameters: objective.1, order: order.0, orderParameters: order.1,
            sampler: sampler.0, samplerParameters: sampler.1, rewards: rewards.compactMap { $0 })
    }

    /// One plugin of a config section: found, its parameters checked; problems go to `reader` with their line.
    static func find(
        _ name: String, _ kind: ComponentKind, _ params: JSONObject, _ key: String, _ catalog: PluginCatalog,
        _ reader: ConfigReader
    ) -> (component: Component, parameters: ParameterValues)? {
        guard !name.isEmpty else { return nil }
        var found: (component: Component, parameters: ParameterValues)?
        reader.collect {
            do {
                let component = try catalog.find(name, kind: kind)
                let place = reader.places.place(of: "\(key).params")
                found = (component, try component.validate(params: params, place: place))
            } catch var error as KeelError where error.at == nil || error.at == name {
                error.at = reader.places.place(of: "\(key).plugin")
                throw error
            }
        }
        return found
    }

    /// Runners and composition of the config's rewards.
    func rewardSet(_ config: RunConfig, catalog: PluginCatalog, seed: UInt64) throws -> RewardSet {
        try RunComponents.rewardSet(config, rewards, catalog: catalog, seed: seed)
    }

    static func rewardSet(
        _ config: RunConfig, _ rewards: [(component: Component, parameters: ParameterValues)],
        catalog: PluginCatalog, seed: UInt64
    ) throws -> RewardSet {
        let parts = config.rewards.map { reward in
            RewardComposition.Part(
                name: reward.shownName, weight: reward.weight,
                clip: reward.clip.flatMap { $0.count == 2 ? $0[0]...$0[1] : nil })
        }
        let missing: RewardComposition.Missing =
            switch config.combine.missing {
            case .stop: .stop
            case .dropRow: .dropRow
            case .constant: .constant(config.combine.constant)
            }
        let runners = try zip(config.rewards, rewards).map { reward, found in
            try InProcessReward(
                found.component, catalog: catalog, parameters: found.parameters, name: reward.shownName, seed: seed)
        }
        return RewardSet(runners: runners, composition: RewardComposition(parts: parts, missing: missing))
    }

    /// Every plugin with the name it runs under, for the manifest.
    var all: [(instance: String, component: Component)] {
        [("objective", objective), ("order", order), ("sampler", sampler)]
            + rewards.enumerated().map { ("rewards[\($0.offset)]", $0.element.component) }
    }
}
