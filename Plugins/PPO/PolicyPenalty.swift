import KeelPlugin

/// The coefficient of PPO-penalty, which follows the KL that the updates of a roll-out have led to.
///
/// Schulman et al. 2017, section 4: half below target / 1.5, double above 1.5 · target. Losses see the KL before
/// their own step, so it is that of a roll-out's last pass; the next roll-out acts on it.
final class PolicyPenalty {
    var coef = 0.0
    private var sum = 0.0
    private var count = 0.0
    private var step = -1.0

    /// Takes in the KL of a micro-batch; those of an earlier step are forgotten.
    func see(_ kl: Tensor, _ rows: Rows) throws {
        let now = rows.call.fact("step")
        if now != step { (sum, count, step) = (0, 0, now) }
        let cells = zip(try kl.values().values, try rows.mask.values().values)
        for (value, mark) in cells where mark != 0 {
            sum += value
            count += 1
        }
    }

    /// Between two roll-outs.
    func follow(_ target: Double) {
        guard target > 0, count > 0 else { return }
        coef = KLControl.ppo2017(target: target).next(coef, kl: sum / count, count: Int(count))
        (sum, count) = (0, 0)
    }

    func write(to writer: inout StateWriter) {
        for value in [coef, sum, count, step] { writer.write(value) }
    }

    func read(from reader: inout StateReader) throws {
        (coef, sum) = (try reader.double(), try reader.double())
        (count, step) = (try reader.double(), try reader.double())
    }
}
