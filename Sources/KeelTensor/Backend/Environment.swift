import Glibc

/// Variables of the process's environment.
enum Environment {
    static func value(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
}

extension Double {
    /// The natural logarithm.
    var logarithm: Double { Glibc.log(self) }

    /// e to this power.
    var exponential: Double { Glibc.exp(self) }

    /// self ^ exponent.
    func raised(to exponent: Int) -> Double { Glibc.pow(self, Double(exponent)) }
}
