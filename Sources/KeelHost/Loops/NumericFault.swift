import KeelBridge
import KeelCore
import KeelData
import KeelModel
import KeelTensor

/// Where a number that is not finite came from: looked for only once there is one, with passes of its own.
struct NumericFault {
    private let update: PolicyUpdate
    private let context: CallContext

    init(_ update: PolicyUpdate, _ context: CallContext) {
        self.update = update
        self.context = context
    }

    private var place: String { "step \(context.step + 1)" }

    /// nan has no sign that would tell anything.
    private static func text(_ number: Double) -> String { number.isNaN ? "nan" : "\(number)" }

    private static func names(_ rows: [Int]) -> String {
        let shown = rows.prefix(8).map(String.init).joined(separator: ", ")
        return "row\(rows.count == 1 ? "" : "s") \(shown)\(rows.count > 8 ? ", ..." : "")"
    }

    // MARK: - A loss

    /// The error of a loss that is not finite: the weight, layer or column it began in, and the rows.
    func lossError(_ loss: Double, _ batch: ColumnBatch, rows: [TokenizedRow]) throws -> KeelError {
        let at = { (rows: [TokenizedRow]) in
            "\(place), \(NumericFault.names(rows.map(\.index)))"
        }
        if let weight = faultyWeight() {
            return KeelError(
                "train",
                "the loss became \(NumericFault.text(loss)): the weight \(weight) is not finite",
                at: at(rows), fix: "go back to an earlier checkpoint with a lower learning rate",
                code: .failed)
        }
        if let fault = try faultyLayer(rows) {
            return KeelError(
                "train",
                "the loss became \(NumericFault.text(loss)): \(fault.model) gives numbers that are not finite, first in \(fault.module)",
                at: at(fault.rows), fix: "lower train.learning_rate, or train in f32",
                code: .failed)
        }
        let columns = batch.columns.sorted { $0.key < $1.key }.compactMap { name, column in
            let bad = rowsNotFinite(column, of: name, in: batch)
            return bad.isEmpty ? nil : (name, bad.map { rows[$0].index })
        }
        guard let (name, bad) = columns.first else {
            return KeelError(
                "train",
                "the loss became \(NumericFault.text(loss)), from columns that are all finite: in \(update.objective.component.title)",
                at: at(rows),
                fix: "lower train.learning_rate, or look at the objective's parameters",
                code: .failed)
        }
        let all = columns.map { "\"\($0.0)\"" }.joined(separator: ", ")
        return KeelError(
            "train",
            "the loss became \(NumericFault.text(loss)): not finite in \(all), first \"\(name)\"",
            at: "\(place), \(NumericFault.names(bad))",
            fix: "lower train.learning_rate, or look at these rows with `keel reward try`",
            code: .failed)
    }

    /// Rows of weight above 0 with a cell under the mask that is not finite.
    private func rowsNotFinite(_ column: Column, of name: String, in batch: ColumnBatch) -> [Int] {
        guard column.shape.first == batch.rows, batch.rows > 0, !column.isInteger else { return [] }
        let weights = batch.columns["weight"]?.values
        let mask = batch.columns[ColumnNames.split(name).prefix + "mask"]
        let marks = mask.flatMap { $0.shape == column.shape ? $0.values : nil }
        let (cells, width) = (column.values, column.count / batch.rows)
        // A threshold below all numbers is no fault.
        return (0..<batch.rows).filter { row in
            weights?[row] != 0
                && (row * width..<(row + 1) * width).contains {
                    (cells[$0].isNaN || cells[$0] == .infinity) && marks?[$0] != 0
                }
        }
    }

    private func faultyWeight() -> String? {
        let (policy, critic) = (update.networks.policy, update.networks.critic)
        let weights =
            (policy.adapter == nil ? [] : policy.parameters) + policy.trained
            + (critic?.parameters ?? []) + (update.networks.valueHead?.parameters ?? [])
        return weights.first { !$0.master.isFinite }?.name
    }

    private func faultyLayer(
        _ rows: [TokenizedRow]
    ) throws -> (model: String, module: String, rows: [TokenizedRow])? {
        let models =
            [("the policy", update.networks.policy)]
            + (update.networks.critic.map { [("the critic", $0)] } ?? [])
        for (name, model) in models {
            var module: String?
            let bad = try rows.filter { row in
                let found = try model.firstFault(PackedBatch(Packing([row])))
                if module == nil { module = found }
                return found != nil
            }
            if let module { return (name, module, bad) }
        }
        return nil
    }

    // MARK: - A gradient

    /// The error of a gradient that is not finite: the tensors that have it, and the rows that make it.
    func gradientError(
        _ norm: Double, rows: [TokenizedRow], columns: ColumnBatch
    ) throws -> KeelError {
        let tensors = faultyGradients()
        var bad = rows.map(\.index)
        for range in pieces(columns) {
            update.networks.zeroGradients()
            _ = try update.evaluate(
                rows: Array(rows[range]), columns: columns.slice(range), isTraining: true,
                context: context)
            if !faultyGradients().isEmpty {
                bad = rows[range].map(\.index)
                break
            }
        }
        let shown = tensors.prefix(3).joined(separator: ", ")
        let where_ =
            tensors.isEmpty
            ? "its norm overflows"
            : "in \(shown)\(tensors.count > 3 ? " and \(tensors.count - 3) more tensors" : "")"
        return KeelError(
            "train", "the gradient became \(NumericFault.text(norm)): \(where_)",
            at: "\(place), \(NumericFault.names(bad))",
            fix: "lower train.learning_rate", code: .failed)
    }

    /// Rows that can be looked at alone.
    private func pieces(_ columns: ColumnBatch) -> [Range<Int>] {
        update.objective.component.flags.contains(.coupled)
            ? update.microBatches(columns) : (0..<columns.rows).map { $0..<$0 + 1 }
    }

    private func faultyGradients() -> [String] {
        update.trainers.flatMap { trainer in
            trainer.optimizer.parameters.filter { $0.isTrained && !$0.gradient.isFinite }.map(
                \.name)
        }
    }
}

extension Tensor {
    /// Whether all cells are numbers below infinity.
    fileprivate var isFinite: Bool { doubles().allSatisfy(\.isFinite) }
}
