import Glibc

extension Double {
    /// The number for people: `digits` significant ones, without trailing zeros, as C's `%g` writes it.
    package func text(digits: Int = 4) -> String {
        precondition((1...15).contains(digits), "\(digits) digits")
        guard isFinite else { return isNaN ? "nan" : self > 0 ? "inf" : "-inf" }
        guard self != 0 else { return "0" }
        var exponent = Int(floor(log10(abs(self))))
        // In two factors: 10^327 is infinite.
        let shift = digits - 1 - exponent
        let first = min(shift, 300)
        var scaled = (abs(self) * pow(10, Double(first)) * pow(10, Double(shift - first)))
            .rounded()
        if scaled >= pow(10, Double(digits)) {
            scaled /= 10
            exponent += 1
        }
        var figures = Array(String(Int(scaled)).utf8)
        while figures.count > 1, figures.last == UInt8(ascii: "0") { figures.removeLast() }
        let text: String
        if exponent < -4 || exponent >= max(digits, 7) {
            text =
                Double.point(figures, after: 1) + "e" + (exponent < 0 ? "-" : "+")
                + (abs(exponent) < 10 ? "0" : "") + String(abs(exponent))
        } else {
            text = Double.point(figures, after: exponent + 1)
        }
        return self < 0 ? "-" + text : text
    }

    private static func point(_ figures: [UInt8], after places: Int) -> String {
        let zero = UInt8(ascii: "0")
        if places <= 0 {
            let zeros = [UInt8](repeating: zero, count: -places)
            return "0." + String(decoding: zeros + figures, as: UTF8.self)
        }
        if places >= figures.count {
            let zeros = [UInt8](repeating: zero, count: places - figures.count)
            return String(decoding: figures + zeros, as: UTF8.self)
        }
        return String(decoding: figures[..<places], as: UTF8.self) + "."
            + String(decoding: figures[places...], as: UTF8.self)
    }
}
