import KeelBridge
import KeelCore
import KeelModel

/// What a run can train, each with an optimizer of its own.
enum Part: String, CaseIterable {
    case policy
    case critic
    case valueHead = "value_head"
    case rewardHead = "reward_head"
}

/// The heads and models that an objective asks for, as the config settles them.
struct HeadPlan {
    /// A critic of its own, a model beside the policy.
    private(set) var hasCritic = false
    private(set) var valueHead: ValueHead.Kind?
    /// A score head on the policy.
    private(set) var hasRewardHead = false
    /// The critic the objective asked for is the value head.
    private var criticIsValueHead = false

    /// - Throws: `KeelError` (unavailable) for a head this host does not know, (config) for settings that
    ///   contradict the objective.
    init(_ component: Component, _ config: RunConfig) throws {
        for name in component.heads {
            let parts = name.split(separator: ":", maxSplits: 1).map(String.init)
            let kind = parts.count > 1 ? parts[1] : nil
            switch parts.first {
            case "critic" where kind == nil:
                if config.critic.kind == .valueHead {
                    criticIsValueHead = true
                    valueHead = .linear
                } else {
                    hasCritic = true
                }
            case "value_head":
                guard let known = ValueHead.Kind(rawValue: kind ?? "linear") else {
                    throw HeadPlan.unknown(name, component, config)
                }
                valueHead = known
            case "reward_head" where kind == nil: hasRewardHead = true
            default: throw HeadPlan.unknown(name, component, config)
            }
        }
        if config.critic.path != nil, !hasCritic {
            throw KeelError(
                "config",
                criticIsValueHead
                    ? "critic.kind \"value_head\" needs no model of its own"
                    : "objective \"\(component.name)\" trains no critic",
                at: config.places.place(of: "critic.path"), fix: "remove critic.path",
                code: .config)
        }
        if let choice = config.valueHead.kind, let kind = ValueHead.Kind(rawValue: choice.rawValue)
        {
            guard valueHead != nil, !criticIsValueHead || kind == .linear else {
                throw KeelError(
                    "config",
                    criticIsValueHead
                        ? "a value head that stands for the critic gives values per token: it is linear"
                        : "objective \"\(component.name)\" uses no value head",
                    at: config.places.place(of: "value_head.kind"), fix: "remove value_head.kind",
                    code: .config)
            }
            valueHead = kind
        }
    }

    private static func unknown(
        _ name: String, _ component: Component, _ config: RunConfig
    ) -> KeelError {
        KeelError(
            "plugin", "objective \"\(component.name)\" needs the head \"\(name)\"",
            at: config.places.place(of: "objective.plugin"),
            fix: "this Keel has critic, value_head:linear, value_head:attention_pool, "
                + "value_head:mlp_pool, reward_head", code: .unavailable)
    }

    /// The parts that a phase trains.
    ///
    /// - Throws: `KeelError` (unavailable) for one that the objective's heads do not bring.
    func parts(of phase: Phase, _ component: Component) throws -> [Part] {
        // Where no phases are declared there is nothing else that could train the heads.
        let isOnly =
            component.phases.count == 1 && component.phases[0].name == "policy"
            && component.phases[0].trains == ["policy"]
        if isOnly { return Part.allCases.filter(has) }
        return try phase.trains.map { name in
            var part = Part(rawValue: name)
            if part == .critic, criticIsValueHead { part = .valueHead }
            guard let part, has(part) else {
                throw KeelError(
                    "plugin",
                    "phase \"\(phase.name)\" of objective \"\(component.name)\" trains \"\(name)\", "
                        + "which is not among its heads",
                    at: component.path,
                    fix: "the plugin must name it among its heads, or not train it",
                    code: .unavailable)
            }
            return part
        }
    }

    /// Leaves out critics and value heads whose columns the objective, as its parameters are, does not read.
    mutating func drop(unread columns: CurrentColumns) {
        if !columns.contains(.values) {
            hasCritic = false
            if valueHead == .linear { valueHead = nil }
        }
        if let kind = valueHead, kind != .linear, !columns.contains(.seqValues) { valueHead = nil }
    }

    /// Whether a phase fits values of prompts to rewards, and nothing else.
    func fitsPrompts(_ phase: PlannedPhase) -> Bool {
        valueHead != nil && valueHead != .linear && HeadPlan.fitsPrompts(phase.phase)
            && phase.dataKind == "scored"
    }

    /// The same, whatever the config makes of it.
    static func fitsPrompts(_ phase: Phase) -> Bool {
        phase.trains == ["value_head"] && phase.needs.contains("rewards")
            && phase.needs.contains("seq_values")
    }

    /// The same without a head that gives values of prompts: they come from elsewhere.
    func withoutPromptValues() -> HeadPlan {
        var plan = self
        if valueHead != .linear { plan.valueHead = nil }
        return plan
    }

    func has(_ part: Part) -> Bool {
        switch part {
        case .policy: true
        case .critic: hasCritic
        case .valueHead: valueHead != nil
        case .rewardHead: hasRewardHead
        }
    }
}
