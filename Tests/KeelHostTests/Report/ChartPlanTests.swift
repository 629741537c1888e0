import Testing

@testable import KeelHost

@Suite struct ChartPlanTests {
    @Test(arguments: [
        ("loss", "Loss"), ("eval_loss", "Loss"), ("policy/approxkl_avg", "The objective's own"),
        ("objective/kl", "KL and entropy"), ("ref_kl", "KL and entropy"),
        ("policy/ppl", "KL and entropy"),
        ("rewards/margins", "Rewards"), ("reward_std", "Rewards"),
        ("frac_reward_zero_std", "Rewards"),
        ("reward_calls/a/p50_ms", "Time and memory"), ("eval_runtime", "Time and memory"),
        ("completions/clipped_ratio", "Completions"), ("learning_rate", "Optimizer"),
        ("critic/grad_norm", "Optimizer"), ("alol/ratio_max", "The objective's own"),
        ("eval_alol/value_mse", "The objective's own"),
    ])
    func headings(_ metric: String, _ heading: String) {
        #expect(ChartPlan.sections([metric], isCombined: false).map(\.title) == [heading])
    }

    @Test func relatedMetricsShareAChart() {
        let names = [
            "step", "epoch", "loss", "logps/chosen", "logps/rejected", "eval_loss",
            "eval_logps/chosen",
            "eval_logps/rejected", "alol/advantage_p25", "alol/advantage_p50", "alol/advantage_p75",
            "train_runtime",
        ]
        let plans = ChartPlan.sections(names, isCombined: true).flatMap(\.plans)
        #expect(
            plans.map(\.title) == [
                "loss", "logps", "held out: logps", "alol/advantage: median, 25 % to 75 %",
            ])
        #expect(plans[0].lines.map(\.metric) == ["loss", "eval_loss"])
        #expect(plans[2].lines.map(\.metric) == ["eval_logps/chosen", "eval_logps/rejected"])
        #expect(plans[3].band == .init(low: "alol/advantage_p25", high: "alol/advantage_p75"))
        // Each on its own where several runs are compared, and none gets lost.
        let apart = ChartPlan.sections(names, isCombined: false).flatMap(\.plans)
        #expect(
            apart.flatMap(\.lines).map(\.metric).sorted()
                == names.filter { !["step", "epoch", "train_runtime"].contains($0) }.sorted())
        #expect(apart.map(\.title).prefix(2) == ["loss", "eval_loss"])
    }
}
