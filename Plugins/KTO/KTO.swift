import KeelPlugin

/// Kahneman-Tversky optimization: responses that are wanted or not, without pairs.
///
/// Ethayarajh et al. 2024, arXiv:2402.01306, equation 8:
///
///     u  = log πθ(y|x) - log π_ref(y|x)
///     z0 = max(0, mean over the step of log πθ(y'|x) - log π_ref(y'|x)),   y' the response to another prompt
///     L  = λ_D (1 - σ(β (u - z0)))   of a desirable response
///     L  = λ_U (1 - σ(β (z0 - u)))   of an undesirable one
///
/// z0 is a constant. The host makes the mismatched pairs over the whole step; HALOs rotates within a micro-batch.
/// `loss_type` apo_zero_unpaired (D'Oosterlinck et al. 2024) takes z0 = 0 and needs none.
struct KTO: Objective, Preparing {
    static let name = "kto"
    static let help = "Kahneman-Tversky optimization on responses marked as wanted or not."
    static let needs: Needs = [.unpaired, .seqLogprobs, .refSeqLogprobs, .label, .mask]
    static let gives = ["kl_baseline", "margin_share"]

    enum LossType: String, CaseIterable {
        case kto
        case apoZeroUnpaired = "apo_zero_unpaired"
    }

    @Param("beta", 0.0..., "Strength of the pull towards the reference policy.")
    var beta = 0.1

    @Param("desirable_weight", 0.0..., "λ_D: weight of desirable responses.")
    var desirableWeight = 1.0

    @Param("undesirable_weight", 0.0..., "λ_U: weight of undesirable responses.")
    var undesirableWeight = 1.0

    @Param("loss_type", "kto, or apo_zero_unpaired: without the baseline z0.")
    var lossType = LossType.kto

    func setup(_ call: Call) throws {
        guard lossType == .kto else { return }
        ["mismatched.seq_logprobs", "mismatched.ref_seq_logprobs"].forEach(call.need)
    }

    /// z0 over all rows of the step, and what each row adds to the difference of the labels' mean rewards.
    func prepare(_ columns: Columns) throws {
        advise(columns.call)
        let labels = try columns("label").values
        let counts = try trainedRows(columns)
        let rows = Double(counts.reduce(0, +))
        let desirable = zip(labels, counts).reduce(0.0) { $0 + ($1.0 > 0 ? Double($1.1) : 0) }
        var baseline = 0.0
        if lossType == .kto {
            let policy = try columns("mismatched.seq_logprobs").values
            let ref = try columns("mismatched.ref_seq_logprobs").values
            let mean = zip(policy, ref).reduce(0) { $0 + $1.0 - $1.1 } / Double(labels.count)
            baseline = Swift.max(0, mean)
        }
        try columns.put("kl_baseline", Column(labels.map { _ in baseline }))
        try columns.put(
            "margin_share",
            Column(
                labels.map { label in
                    guard desirable > 0, desirable < rows else { return .nan }
                    return label > 0 ? rows / desirable : -rows / (rows - desirable)
                }))
        columns.metric("kl", baseline)
        columns.metric("count/desirable", desirable)
        columns.metric("count/undesirable", rows - desirable)
    }

    /// Once, at the first step: what the weights should be for the data as it is (equation 8 of the paper).
    private func advise(_ call: Call) {
        let (wanted, unwanted) = (call.fact("desirable_rows"), call.fact("undesirable_rows"))
        guard call.fact("step") == 0, wanted + unwanted > 0 else { return }
        guard wanted > 0, unwanted > 0 else {
            call.log(
                "all \(Int(wanted + unwanted)) rows are \(wanted > 0 ? "wanted" : "unwanted"): nothing is "
                    + "compared; give rows with both labels, or use sft for wanted rows alone",
                warning: true)
            return
        }
        let ratio = desirableWeight * wanted / (undesirableWeight * unwanted)
        guard !(0.99...1.34).contains(ratio) else { return }
        func text(_ x: Double) -> String { "\((x * 100).rounded() / 100)" }
        let advice =
            ratio < 1
            ? "desirable_weight to \(text(undesirableWeight * unwanted / wanted)) ... "
                + text(undesirableWeight * unwanted / wanted * 4 / 3)
            : "undesirable_weight to \(text(desirableWeight * wanted / unwanted * 3 / 4)) ... "
                + text(desirableWeight * wanted / unwanted)
        call.log(
            "\(Int(wanted)) rows are wanted and \(Int(unwanted)) are not: weighted, the first count "
                + "\(text(ratio)) times as much; set \(advice) for 1 to 1.33", warning: true)
    }

    /// 1 for rows that count: of weight not 0 and with a trained token.
    private func trainedRows(_ columns: Columns) throws -> [Int] {
        let mask = try columns("mask")
        let width = columns.rows > 0 ? mask.values.count / columns.rows : 0
        let weights = columns.has("weight") ? try columns("weight").values : []
        return (0..<columns.rows).map { row in
            let isTrained = mask.values[row * width..<(row + 1) * width].contains { $0 != 0 }
            return isTrained && (weights.isEmpty || weights[row] != 0) ? 1 : 0
        }
    }

    func loss(_ rows: Rows) -> Tensor {
        let logratio = rows.seqLogprobs - rows.refSeqLogprobs  // u, [batch]
        let isWanted = rows.label > 0
        report(rows, beta * logratio, isWanted)

        let gain = beta * (logratio - rows.column("kl_baseline"))
        let wanted = desirableWeight * sigmoid(-gain)  // 1 - σ(z) = σ(-z), without cancellation
        let unwanted = undesirableWeight * sigmoid(gain)
        return select(isWanted, wanted, unwanted)
    }

    private func report(_ rows: Rows, _ reward: Tensor, _ isWanted: Tensor) {
        let none = rows.constant(Column([.nan]))  // left out of the means
        rows.metric("rewards/chosen", select(isWanted, reward, none))
        rows.metric("rewards/rejected", select(isWanted, none, reward))
        rows.metric("rewards/margins", rows.column("margin_share") * reward)
        rows.metric("logps/chosen", select(isWanted, rows.seqLogprobs, none))
        rows.metric("logps/rejected", select(isWanted, none, rows.seqLogprobs))
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? { plugin("keel.kto", "1.0.0", KTO.self) }
