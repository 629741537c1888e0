import Glibc
import KeelCore

/// An axis: how values become places, and where its ticks stand.
struct Scale: Equatable {
    let low: Double
    let high: Double
    let isLog: Bool

    /// The scale that holds all values, with a margin.
    ///
    /// - Parameters:
    ///   - values: those that are not finite, and on a logarithmic axis those of zero or less, are passed over.
    ///   - margin: the share of the range added at each end.
    ///   - lowest, highest: ends given by the user, which have no margin.
    init(
        _ values: some Sequence<Double>, isLog: Bool = false, margin: Double = 0.05,
        lowest: Double? = nil, highest: Double? = nil
    ) {
        var low = Double.infinity
        var high = -Double.infinity
        for value in values where value.isFinite && (!isLog || value > 0) {
            low = min(low, value)
            high = max(high, value)
        }
        if low > high { (low, high) = isLog ? (0.1, 1) : (0, 1) }
        if isLog {
            if low == high { (low, high) = (low / 2, high * 2) }
            let pad = pow(high / low, margin)
            (low, high) = (low / pad, high * pad)
        } else {
            if low == high {
                let pad = low == 0 ? 1 : abs(low) * 0.1
                (low, high) = (low - pad, high + pad)
            }
            let pad = (high - low) * margin
            (low, high) = (low - pad, high + pad)
        }
        if let lowest, !isLog || lowest > 0 { low = lowest }
        if let highest, !isLog || highest > 0 { high = highest }
        if low >= high || !low.isFinite || !high.isFinite {
            (low, high) = isLog ? (0.1, 1) : (0, 1)
        }
        self.low = low
        self.high = high
        self.isLog = isLog
    }

    /// 0 at the low end, 1 at the high end, beyond outside; NaN where there is no place.
    func share(_ value: Double) -> Double {
        guard isLog else { return (value - low) / (high - low) }
        return value > 0 ? log(value / low) / log(high / low) : .nan
    }

    /// A tick's value and what is written at it.
    struct Tick: Equatable {
        var value: Double
        var label: String
    }

    /// About `count` ticks at round values.
    func ticks(_ count: Int) -> [Tick] {
        isLog ? logTicks(count) : linearTicks(count)
    }

    private func linearTicks(_ count: Int) -> [Tick] {
        let ticks = linearTicks(step: (high - low) / Double(max(1, count)))
        return ticks.count < 3 ? linearTicks(step: (high - low) / Double(count + 2)) : ticks
    }

    /// - Parameter rough: the least distance of ticks; a round number from there up is taken.
    private func linearTicks(step rough: Double) -> [Tick] {
        let power = pow(10, floor(log10(rough)))
        let step = [1, 2, 2.5, 5, 10].map { $0 * power }.first { $0 >= rough * 0.999 } ?? rough
        let first = Int(ceil(low / step - 1e-9))
        let last = Int(floor(high / step + 1e-9))
        guard first <= last, last - first < 100 else { return [] }
        return (first...last).map { n in
            let value = Double(n) * step
            return Tick(
                value: value,
                label: Scale.label(value, step: step, largest: max(abs(low), abs(high))))
        }
    }

    private func logTicks(_ count: Int) -> [Tick] {
        let first = Int(floor(log10(low)))
        let last = Int(ceil(log10(high)))
        let decades = log10(high / low)
        let factors: [Double] =
            decades < 1 ? [1, 1.5, 2, 3, 4, 5, 7] : decades < 3 ? [1, 2, 5] : [1]
        let stride = max(1, Int((decades / Double(max(1, count))).rounded(.up)))
        var ticks: [Tick] = []
        for exponent in first...last where factors.count > 1 || exponent.isMultiple(of: stride) {
            for factor in factors {
                let value = factor * pow(10, Double(exponent))
                guard value >= low * 0.999, value <= high * 1.001 else { continue }
                ticks.append(Tick(value: value, label: Scale.plain(value)))
            }
        }
        return ticks
    }

    /// The text of a tick: as many decimals as the step has, and thousands as k and M.
    static func label(_ value: Double, step: Double, largest: Double) -> String {
        if value == 0 { return "0" }
        if largest >= 10_000 {
            let (unit, sign) =
                largest >= 1e10 ? (1e9, "G") : largest >= 1e7 ? (1e6, "M") : (1e3, "k")
            return minus((value / unit).text(digits: 6)) + sign
        }
        if largest < 1e-3 { return minus(value.text(digits: 3)) }
        // 2.5 has a decimal more than its power of ten.
        let digits = step / pow(10, floor(log10(step) + 1e-9))
        let extra = abs(digits - digits.rounded()) > 1e-6 ? 1 : 0
        let decimals = max(0, Int(-floor(log10(step) + 1e-9)) + extra)
        return minus(fixed(value, decimals))
    }

    /// A number for people, with a real minus.
    static func plain(_ value: Double, digits: Int = 4) -> String {
        let size = abs(value)
        if size >= 10_000, size < 1e15 {
            let (unit, sign) = size >= 1e9 ? (1e9, "G") : size >= 1e6 ? (1e6, "M") : (1e3, "k")
            return minus((value / unit).text(digits: digits)) + sign
        }
        return minus(value.text(digits: digits))
    }

    private static func fixed(_ value: Double, _ decimals: Int) -> String {
        guard decimals > 0 else { return String(Int(value.rounded())) }
        let unit = pow(10, Double(decimals))
        let all = Int((abs(value) * unit).rounded())
        let rest = String(all % Int(unit))
        return (value < 0 && all > 0 ? "-" : "") + String(all / Int(unit)) + "."
            + String(repeating: "0", count: decimals - rest.count) + rest
    }

    private static func minus(_ text: String) -> String {
        String(text.map { $0 == "-" ? "\u{2212}" : $0 })
    }
}
