import KeelBridge
import KeelCore

/// What can be known to go wrong before anything is loaded.
enum RunChecks {
    /// The columns this host can give in a phase; anything else it needs is refused before the run.
    ///
    /// - Parameter rewarding: what the rewards of the run give beside their scores.
    static func columns(
        _ phase: PlannedPhase, needs: [String], rewarding: [String] = [], _ data: RunData?,
        _ plan: HeadPlan,
        _ config: RunConfig
    ) throws {
        let isOnline = phase.isOnline
        var known =
            phase.dataKind == "ranked"
            ? [
                "seq_logprobs", "mean_logprobs", "length", "ref_seq_logprobs", "ref_mean_logprobs",
            ]
            : [
                "logprobs", "seq_logprobs", "mean_logprobs", "entropy", "vocab_logprobs", "mask",
                "tokens", "length", "ref_logprobs", "ref_seq_logprobs", "ref_mean_logprobs",
            ]
        if isOnline {
            known += [
                "old_logprobs", "old_seq_logprobs", "old_mean_logprobs", "behavior_logprobs",
                "rewards", "weight", "group", "finished", "greedy_rewards",
            ]
            known += rewarding
        }
        if !isOnline {
            known += OfflineRows.known(dataKind: phase.dataKind)
            known += ["old_seq_logprobs", "old_mean_logprobs"]
            if phase.dataKind != "ranked" { known.append("old_logprobs") }
        }
        if data?.train.values.allSatisfy({ $0.seqValue != nil }) ?? false {
            known.append("seq_values")
        }
        if plan.hasCritic || plan.valueHead == .linear {
            known.append("values")
            if isOnline { known += ["old_values", "bootstrap_values"] }
        }
        if plan.valueHead != nil { known.append("seq_values") }
        if plan.hasRewardHead { known.append("scores") }
        if Mismatched.areNeeded(needs), let data {
            guard !isOnline, phase.dataKind == "unpaired" || phase.dataKind == "scored" else {
                throw KeelError(
                    "plugin",
                    "objective \"\(config.objective.plugin)\" needs completions of other prompts with data of kind \"\(phase.dataKind)\"",
                    at: config.places.place(of: "objective.plugin"),
                    fix: "the columns mismatched.* belong to data of kind unpaired or scored",
                    code: .unavailable)
            }
            try Mismatched.check(data.train.tokens.rows, at: data.train.rows.path)
        }
        for need in needs where !need.hasSuffix("?") {
            guard !known.contains(ColumnNames.split(need).base) else { continue }
            throw KeelError(
                "plugin",
                "objective \"\(config.objective.plugin)\" needs the column \"\(need)\"",
                at: config.places.place(of: "objective.plugin"),
                fix: "a run of this kind gives \(known.joined(separator: ", "))",
                code: .unavailable)
        }
    }

    /// What the contract lets a phase ask for and this kind of run cannot do.
    static func phase(
        _ phase: Phase, isOnline: Bool, _ component: Component, _ config: RunConfig
    ) throws {
        guard isOnline else { return }
        func refuse(_ what: String, _ fix: String) -> KeelError {
            KeelError(
                "plugin", "objective \"\(component.name)\" \(what)",
                at: config.places.place(of: "objective.plugin"), fix: fix, code: .unavailable)
        }
        if phase.flags.contains(.prepareDataset) {
            throw refuse(
                "prepares the whole data set, which roll-outs are not",
                "choose another objective; the plugin must prepare each roll-out")
        }
        if component.flags.contains(.coupled),
            config.train.rowsPerStep % config.train.numGenerations != 0
        {
            throw refuse(
                "needs whole groups in an optimizer step",
                "set train.per_device_train_batch_size * gradient_accumulation_steps to a multiple of "
                    + "train.num_generations (\(config.train.numGenerations))")
        }
    }

    /// Pre-training text is mixed into online training of a policy; elsewhere it would be ignored.
    static func ptx(_ phases: [PlannedPhase], _ config: RunConfig) throws {
        guard config.data.ptx != nil,
            !phases.contains(where: { $0.isOnline && $0.parts.contains(.policy) })
        else { return }
        throw KeelError(
            "config",
            "data.ptx is mixed into online training; objective \"\(config.objective.plugin)\" makes no roll-outs",
            at: config.places.place(of: "data.ptx"),
            fix: "remove data.ptx and train.ptx_coef, or add the texts to data.train", code: .config
        )
    }

    /// A greedy response stands alone: what compares responses with each other has nothing to say about it.
    static func baseline(
        _ needs: [String], _ composition: RewardComposition, _ config: RunConfig
    ) throws {
        guard needs.contains("greedy_rewards") else { return }
        let key =
            composition.isGroupNormalized
            ? "combine.rule" : composition.transform == .logitWhiten ? "combine.transform" : nil
        guard let key else { return }
        throw KeelError(
            "config",
            "\(key) compares the responses of a roll-out, and the baseline of objective \"\(config.objective.plugin)\" is one response alone",
            at: config.places.place(of: key),
            fix:
                "choose another baseline, or set combine.rule \"sum\" and combine.transform \"none\" or \"logit\"",
            code: .config)
    }

    /// Whether a run holds a frozen reference beside its policy.
    static func holdsReference(
        _ config: RunConfig, needs: [String], phases: [PlannedPhase], valuesPrompts: Bool
    ) -> Bool {
        needsReference(needs) || valuesPrompts
            || config.train.monitorKL && phases.contains(where: \.isOnline)
    }

    /// Whether a frozen reference's log-probs are needed, and not merely welcome: they cost a pass.
    static func needsReference(_ needs: [String]) -> Bool {
        needs.contains { !$0.hasSuffix("?") && ColumnNames.split($0).base.hasPrefix("ref_") }
    }
}
